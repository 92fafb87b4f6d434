"""Recipe: everything that determines one training run, and nothing else."""

import hashlib
import json
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from raytrain.data.augmentation.mixing import MIXES
from raytrain.data.data_key import DataKey
from raytrain.data.split import TEST_SIZE
from raytrain.metrics.selection import Select
from raytrain.models.normalization import IMAGENET, Channels, normalization_of_weights
from raytrain.training.choices import CANONICAL, TAKE_USER_CODE, as_tuple, build_network, is_user_code
from raytrain.training.field_rules import contradictions, inert
from raytrain.user_code.calls import name_of
from raytrain.user_code.component import one_of
from raytrain.user_code.reference import digests_in

if TYPE_CHECKING:
    from torch import nn

_SORTED = json.JSONEncoder(sort_keys=True)
"""`json.dumps` makes one anew for each of ten thousand recipes."""


class Digest(Enum):
    """Which values of a recipe field are part of the digest, where not all are."""

    CHANGED = "all but the default: recipes have not always had the field, and earlier trials keep their id"


class EpochTime(Enum):
    """Whether the time that an epoch takes depends on a recipe field; every field of `Recipe` is annotated with one."""

    DEPENDS = "epochs, or what is measured after the last, take another time when the field changes"
    SAME = "epochs take the same time whatever the field says"


Fraction = Annotated[float, Field(ge=0, le=1)]


class Recipe(BaseModel):
    """One complete training run. Frozen; change it by `replace`, which validates again.

    Two equal recipes are the same trial wherever they run: `digest` identifies it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    arch: Annotated[str, EpochTime.DEPENDS] = "resnet18"
    """Architecture, a network of a library such as `torchvision:resnet18`, or code of your own, with arguments where it
    takes some."""
    width: Annotated[int, Field(ge=1, le=4096), EpochTime.DEPENDS] = 64
    """Channels of the first stage. The later stages of a ResNet have 2, 4 and 8 times as many, those of other networks
    what their function says."""
    dataset: Annotated[str, Field(min_length=1), EpochTime.DEPENDS] = "digits"
    """Data set, by name, or the path or URI of an image folder or of Parquet files, or code of your own that returns
    images and labels. `#NAME` after it chooses a configuration."""
    image_size: Annotated[int, Field(ge=8, le=1024), EpochTime.DEPENDS] = 32
    """Height and width in pixels that every image is brought to."""
    val_size: Annotated[int | float, Field(ge=0), EpochTime.DEPENDS] = 0.1
    """Training images held out for validation: a count, or below 1 a share of them; 0 for none. A data set with a
    validation part of its own keeps that, unless this is 0: then it is trained on."""
    test_size: Annotated[int | float, Field(gt=0), EpochTime.DEPENDS, Digest.CHANGED] = TEST_SIZE
    """Images held out for the test where the data set has no test part: a count, or below 1 a share of them."""
    columns: Annotated[str, EpochTime.DEPENDS, Digest.CHANGED] = ""
    """Names of the columns of Parquet files where they are not the usual ones: `{image: photo, label: species}`."""
    skip_bad: Annotated[bool, EpochTime.DEPENDS, Digest.CHANGED] = False
    """Whether images that cannot be read are left out, and counted; otherwise they are named and nothing is trained."""
    follow_links: Annotated[bool, EpochTime.SAME, Digest.CHANGED] = False
    """Whether links are followed that lead out of the folder of the data set; otherwise they are named and nothing is
    trained, because they may lead to any file of the machine. Links within the folder are followed in any case."""
    background: Annotated[str, EpochTime.SAME, Digest.CHANGED] = "white"
    """Colour behind the transparent pixels of image files: white, black, or red, green and blue as `'#rrggbb'`, in
    quotes because YAML reads a bare `#` as a comment."""
    resolution: Annotated[str, EpochTime.DEPENDS, Digest.CHANGED] = ""
    """Image size in the course of training, as a mapping from a share of the epochs to pixels: `{0: 24, 0.4: 32}`
    trains at 24 pixels, and at 32 from the first epoch on that begins after 40 % of the epochs. What is evaluated has
    `image_size`. Empty for `image_size` throughout."""
    augment: Annotated[tuple[str, ...], BeforeValidator(as_tuple), EpochTime.DEPENDS] = ()
    """Augmentations in the order they are applied, or code of your own, with arguments where they take some."""
    mix: Annotated[str, EpochTime.DEPENDS] = "none"
    """Mixing of pairs of images, or code of your own, or none."""
    mix_alpha: Annotated[float, Field(gt=0), EpochTime.SAME] = 1.0
    """Alpha of the Beta(alpha, alpha) from which the mixing share is drawn."""
    mix_prob: Annotated[Fraction, EpochTime.SAME] = 1.0
    """Probability that a batch is mixed."""
    mix_off_epochs: Annotated[int, Field(ge=0), EpochTime.SAME] = 0
    """Number of epochs at the end of training in which no batch is mixed."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1), EpochTime.SAME] = 0.0
    """Share of each target that is spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567), in batches
    that are not mixed: mixed targets are soft already, unless `mix_smoothing`."""
    mix_smoothing: Annotated[bool, EpochTime.SAME, Digest.CHANGED] = False
    """Whether `label_smoothing` is for mixed batches too, as timm and torchvision have it."""
    loss: Annotated[str, EpochTime.DEPENDS, Digest.CHANGED] = "cross_entropy"
    """Loss that training minimises, or code of your own. What is measured is cross-entropy in any case."""
    class_weights: Annotated[Literal["none", "balanced"], EpochTime.SAME, Digest.CHANGED] = "none"
    """Weight of each class in the training loss. With `balanced`, a class has the weight n / (k n_c): n images, n_c of
    them in the class, k classes with images. As in PyTorch, the loss is divided by the sum of the image weights, in
    mixed batches by the number of images."""
    sampler: Annotated[Literal["shuffle", "balanced"], EpochTime.SAME, Digest.CHANGED] = "shuffle"
    """Order of the training images in an epoch: shuffle for each once; balanced for as many draws with replacement, in
    which all classes are equally probable. In both, the last incomplete batch is left out."""
    zero_init_residual: Annotated[bool, EpochTime.SAME] = False
    """Whether residual blocks start as their shortcut: the weight of their last BatchNorm is 0 (Goyal et al. 2017)."""
    init: Annotated[str, Field(min_length=1), EpochTime.SAME, Digest.CHANGED] = "none"
    """Weights that the network starts from: a .pth or .safetensors file, RUN/TRIAL for the weights of a trial,
    pretrained for those of the library that the network is from, or none. The last layer stays randomly initialised if
    the number of classes differs."""
    init_strict: Annotated[bool, EpochTime.SAME, Digest.CHANGED] = True
    """Whether `init` weights that do not fit are refused. If false, they are skipped and logged."""
    normalize: Annotated[Literal["data", "weights", "imagenet"], EpochTime.SAME, Digest.CHANGED] = "data"
    """Mean and standard deviation of each channel that images are normalised by: those of the training images, those
    that the library's pretrained weights of the network were trained with, or those of ImageNet."""
    optimizer: Annotated[str, EpochTime.DEPENDS] = "sgd"
    """Optimizer, or code of your own, with arguments where it takes some."""
    lr: Annotated[float, Field(gt=0), EpochTime.SAME] = 0.1
    """Peak learning rate."""
    bias_lr_factor: Annotated[float, Field(gt=0), EpochTime.SAME, Digest.CHANGED] = 1.0
    """Learning rate of biases, BatchNorm's weights and all else without `weight_decay`, as a multiple of `lr`. Airbench
    has a higher one for the biases of BatchNorm (Jordan 2024, arXiv:2404.00498)."""
    head_lr_factor: Annotated[float, Field(gt=0), EpochTime.SAME, Digest.CHANGED] = 1.0
    """Learning rate of the weights of the head, as a multiple of `lr`; `backbone_lr_factor` says what the head is."""
    backbone_lr_factor: Annotated[float, Field(gt=0), EpochTime.SAME, Digest.CHANGED] = 1.0
    """Learning rate of all parameters but those of the head, as a multiple of what they have otherwise. The head is the
    last layer with an output for each class."""
    layer_decay: Annotated[float, Field(gt=0, le=1), EpochTime.SAME, Digest.CHANGED] = 1.0
    """Factor between the learning rates of neighbouring layers: `lr` for the head, `layer_decay` x `lr` for the last
    backbone layer, its square x `lr` for the one before (Bao et al. 2021, arXiv:2106.08254), times other factors."""
    freeze_epochs: Annotated[int, Field(ge=0), EpochTime.DEPENDS, Digest.CHANGED] = 0
    """Number of epochs at the start in which the head alone is trained; every BatchNorm then normalises by its running
    statistics, and keeps them."""
    momentum: Annotated[float, Field(ge=0, lt=1), EpochTime.SAME] = 0.9
    """Momentum of SGD and Muon; Adam and AdamW keep their own (0.9, 0.999)."""
    nesterov: Annotated[bool, EpochTime.SAME] = False
    """Whether the momentum of SGD and Muon is Nesterov's."""
    weight_decay: Annotated[float, Field(ge=0), EpochTime.SAME] = 5e-4
    """Weight decay of the weights of layers: parameters of two dimensions or more that have `weight` in their name.
    Others do not decay, such as biases, BatchNorm, the positions and class tokens of transformers, and LayerScale."""
    decoupled_weight_decay: Annotated[bool, EpochTime.SAME, Digest.CHANGED] = False
    """Whether `weight_decay` does not depend on `lr`, only on the schedule: at the schedule's peak, each step shrinks a
    weight by that fraction. With SGD, momentum carries the decay on, ten times as much in total at 0.9. Refused with
    adam."""
    grad_clip: Annotated[float, Field(ge=0), EpochTime.SAME, Digest.CHANGED] = 0.0
    """Largest norm of the gradient of all parameters together; a longer one is scaled down to it (Pascanu et al. 2013,
    arXiv:1211.5063). 0 for no limit."""
    schedule: Annotated[str, EpochTime.SAME] = "cosine"
    """Learning rate in the course of training, or code of your own, with arguments where it takes some."""
    warmup_epochs: Annotated[float, Field(ge=0), EpochTime.SAME] = 0.0
    """Number of epochs of linear warm-up before the schedule; may be a fraction, and is rounded to whole steps."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000), EpochTime.SAME] = 10
    """Number of passes over the training split. Each leaves out the images of the last incomplete batch, which are
    others in each epoch."""
    batch_size: Annotated[int, Field(ge=1), EpochTime.DEPENDS] = 128
    """Images per optimizer step, over all workers together."""
    accumulate: Annotated[int, Field(ge=1, le=1024), EpochTime.DEPENDS, Digest.CHANGED] = 1
    """Number of parts of a batch whose gradients are added up, one after the other, to take less memory. BatchNorm
    normalises by the part."""
    sync_batchnorm: Annotated[bool, EpochTime.DEPENDS, Digest.CHANGED] = False
    """Whether BatchNorm normalises by the whole batch where several workers share it, at the price of a message between
    them in each layer; otherwise by the worker's own share. It needs GPUs, and changes nothing with one worker."""
    bn_momentum: Annotated[float, Field(ge=0, le=1), EpochTime.SAME, Digest.CHANGED] = 0.0
    """Weight of the newest batch in each BatchNorm's running statistics, as PyTorch's `momentum`; 0 for the network's
    own: 0.1 in the ResNets, 0.4 in airbench (Jordan 2024, arXiv:2404.00498). Short trainings need more, or they lag."""
    ema_decay: Annotated[float, Field(ge=0, lt=1), EpochTime.DEPENDS] = 0.0
    """Decay per step of an exponential moving average of the weights, which is then what is evaluated; 0 for none."""
    lookahead: Annotated[str, EpochTime.SAME, Digest.CHANGED] = "none"
    """Slow weights that move towards the trained ones every few steps, and from which training goes on (Lookahead,
    Zhang et al. 2019, arXiv:1907.08610), with arguments where it takes some; at the end they become the network's."""
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], EpochTime.DEPENDS] = "auto"
    """Arithmetic of the forward and backward pass. `auto` takes bf16 on an NVIDIA GPU, or fp16 where it has no bf16;
    bf16 on a CPU with AVX512-BF16; fp32 otherwise. On an NVIDIA GPU with TF32 (Ampere and newer), fp32 computes
    convolutions in TF32, as PyTorch does by default, with 10 bits of mantissa; matrix products have all 23. fp16 has
    not been tried on a GPU yet."""
    channels_last: Annotated[bool, EpochTime.DEPENDS] = True
    """Whether activations are kept in NHWC memory order."""
    compile: Annotated[bool, EpochTime.DEPENDS] = False
    """Whether the model is compiled with torch.compile."""
    seed: Annotated[int, Field(ge=0, lt=2**32), EpochTime.SAME] = 0
    """Seed of initialisation, shuffling, augmentation and mixing; the train/val split does not depend on it."""
    track_test: Annotated[bool, EpochTime.DEPENDS] = False
    """Whether the test set is evaluated after every epoch; the results are shown and select nothing."""
    tta: Annotated[Literal["none", "mirror", "shifts"], EpochTime.DEPENDS, Digest.CHANGED] = "none"
    """Test-time augmentation by a second reading of the test set; its column ranks nothing. `mirror`: mean logits of an
    image and its mirror image. `shifts`: of these (1/4 each) and two one-pixel diagonal shifts, also mirrored (1/8), as
    Jordan 2024, arXiv:2404.00498, has them."""
    tta_below: Annotated[Fraction, EpochTime.DEPENDS, Digest.CHANGED] = 1.0
    """Probability of the predicted class below which `tta` takes several views of an image; the others keep the
    prediction of the plain image. 1 for several views of all images."""
    final_train_accuracy: Annotated[bool, EpochTime.DEPENDS, Digest.CHANGED] = True
    """Whether the training images are evaluated at the end, without augmentation."""
    select: Annotated[Select, EpochTime.SAME, Digest.CHANGED] = "accuracy"
    """Metric that decides: on the validation split the best epoch, early stopping and the choice, on the test images
    the order of the rows. All trials of an experiment have the same."""

    # The choices live beside their functions.
    @field_validator(*CANONICAL, mode="before")
    @classmethod
    def _canonical(cls, value: object, info: ValidationInfo) -> object:
        if info.context and value is info.context[info.field_name]:
            return value  # of the recipe that `replace` changes: it is canonical
        return CANONICAL[str(info.field_name)](value)

    @field_validator("mix")
    @classmethod
    def _known_mix(cls, value: str) -> str:
        return value if is_user_code(value) else one_of(value, ["none", *MIXES], what="mix")

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if contradiction := next(contradictions(self), None):
            raise ValueError(contradiction)
        return self

    def replace(self, **changes: Any) -> "Recipe":
        """Return this recipe with `changes`, validated as a new one is.

        Raises:
            pydantic.ValidationError: The changed recipe is invalid.
        """
        return Recipe.model_validate({**vars(self), **changes}, context=vars(self))

    def build_network(self, num_classes: int) -> "nn.Module":
        """Return the network, its weights at random from PyTorch's generator of this process."""
        return build_network(self.arch, num_classes=num_classes, width=self.width, image_size=self.image_size)

    def normalization(self, mean: Channels, std: Channels) -> tuple[Channels, Channels]:
        """Return the mean and the standard deviation of each channel that images are normalised by.

        Args:
            mean: Mean of each channel of the training images.
            std: Standard deviation of each channel of the training images.

        Raises:
            ModelError: The library says none for its network.
        """
        if self.normalize == "imagenet":
            return IMAGENET
        return normalization_of_weights(name_of(self.arch)) if self.normalize == "weights" else (mean, std)

    @property
    def head_apart(self) -> bool:
        """Whether the recipe says that the head is trained otherwise than the backbone."""
        return self.freeze_epochs > 0 or {self.head_lr_factor, self.backbone_lr_factor, self.layer_decay} != {1}

    @property
    def user_code(self) -> list[str]:
        """The digests of the user's code that the recipe names, each once."""
        values = [getattr(self, field) for field in TAKE_USER_CODE]
        return digests_in(text for value in values for text in (value if isinstance(value, tuple) else [value]))

    @property
    def data_key(self) -> DataKey:
        """What the splits depend on: data set, image size, validation and test size, what is read of the files."""
        return DataKey(**{name: getattr(self, name) for name in DataKey._fields})

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them, a tuple as a list; `model_dump(mode="json")` takes four times as long."""
        return {**vars(self), "augment": list(self.augment)}

    @property
    def effect(self) -> tuple[Any, ...]:
        """The fields, with defaults for those that change nothing: recipes with equal ones train the same."""
        plain, defaults = vars(self), _defaults()
        # again: a field may have no effect only where another one is at its default, as mix_prob beside mix: none
        while changed := {name: defaults[name] for name in inert(plain) if plain[name] != defaults[name]}:
            plain = plain | changed
        return tuple(plain.values())

    @property
    def digest(self) -> str:
        """Eight hex digits of the SHA-256 of the fields: the identity of the trial."""
        defaults, later = _defaults(), added_later()
        kept = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value  # 5000 and 5000.0 are equal
            for name, value in vars(self).items()
            if name not in later or value != defaults[name]
        }
        return hashlib.sha256(_SORTED.encode(kept).encode()).hexdigest()[:8]

    @property
    def digest_without_seed(self) -> str:
        """The identity of the configuration: equal in trials that differ in the seed alone."""
        return self.model_copy(update={"seed": 0}).digest


@cache
def _defaults() -> dict[str, Any]:
    return {name: field.default for name, field in Recipe.model_fields.items()}


@cache
def added_later() -> frozenset[str]:
    """Return the names of the fields that recipes have not always had."""
    return frozenset(name for name, field in Recipe.model_fields.items() if Digest.CHANGED in field.metadata)
