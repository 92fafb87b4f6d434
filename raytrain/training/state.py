"""Everything that changes while a recipe trains: the weights, the optimizer, and how far it has come."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raytrain.data.batches import normalize
from raytrain.models import architectures
from raytrain.models.head import backbone_and_head, head_of, set_batchnorm_momentum
from raytrain.models.layers import layers_of
from raytrain.models.sync_batchnorm import synchronised
from raytrain.models.weights import initialise
from raytrain.optim.averaging import MovingAverage
from raytrain.optim.lookahead import Lookahead
from raytrain.optim.optimizers import parameter_groups
from raytrain.training.choices import LOOKAHEAD_CHOICES, OPTIMIZER_CHOICES
from raytrain.training.devices import choose_precision
from raytrain.training.evaluation import TrainingData, rank_and_world_size
from raytrain.training.initial.sources import NONE
from raytrain.training.recipe import Recipe

INITIAL_IMAGES = 5000
"""Most training images that an architecture's initial weights are computed from."""
INITIAL_PIXELS = INITIAL_IMAGES * 32 * 32
"""Most pixels, of 12 bytes each, that an architecture's initial weights are computed from: of large images, fewer are
used."""


class TrainState:
    """Everything that changes while a recipe trains."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        ema_decay: float,
        precision: str,
        lookahead: Lookahead | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema = MovingAverage(model, decay=ema_decay) if ema_decay else None
        self.lookahead = lookahead
        self.device = next(model.parameters()).device
        self.precision = precision
        # fp16 underflows without a scale on the loss; for the others this does nothing
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")  # pyright: ignore[reportPrivateImportUsage]
        self.epoch = 0
        self.step = 0
        """Number of steps that changed the weights since the start; another thread may read it to show progress within
        the epoch."""
        self.backbone: list[nn.Parameter] = []
        """Parameters that `freeze` is about: those of the backbone that are trained, where the recipe freezes them."""

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        *,
        num_classes: int,
        device: torch.device,
        data: TrainingData | None = None,
        weights: Mapping[str, Tensor] | None = None,
        restored: bool = False,
    ) -> "TrainState":
        """Return the state before the first epoch.

        The initial weights depend on the recipe's seed alone, and those that an architecture computes from data on the
        first training images.

        Args:
            recipe: The recipe to train.
            num_classes: Number of classes.
            device: The device to train on.
            data: The data; needed by architectures that are `DataInitialised` only.
            weights: Weights that the recipe's `init` names, from `raytrain.initial_weights`; None where it names none.
            restored: Whether the state of a checkpoint is loaded afterwards, so that `weights` are not needed.

        Raises:
            ValueError: The architecture needs `data`, or the recipe's `init` names weights, and there are none.
            ModelError: The weights do not fit, or a BatchNorm cannot be synchronised.
        """
        if recipe.init != NONE and weights is None and not restored:
            raise ValueError(
                f"the recipe starts from init: {recipe.init}, and no weights are given; "
                "give weights=raytrain.initial_weights(recipe)"
            )
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would also seed every accelerator, and fork_rng does not restore those
            torch.default_generator.manual_seed(recipe.seed)
            model = recipe.build_network(num_classes)
        if recipe.zero_init_residual:
            architectures.zero_init_residual(model)
        if recipe.bn_momentum:
            set_batchnorm_momentum(model, recipe.bn_momentum)
        if recipe.sync_batchnorm and rank_and_world_size()[1] > 1:
            model = synchronised(model)
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        model = model.to(device=device).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        if isinstance(model, architectures.DataInitialised):
            if data is None:
                raise ValueError(f"{recipe.arch} is initialised from training images; give data")
            model.init_from(_first_images(data))
        if weights is not None:
            name = f"init: {recipe.init}"
            initialise(model, weights, classes=num_classes, strict=recipe.init_strict, name=name)
        hidden_alone = OPTIMIZER_CHOICES.entry(recipe.optimizer).head_apart
        apart = recipe.head_apart or (hidden_alone and head_of(model, num_classes))
        backbone, head = backbone_and_head(model, num_classes) if apart else ([], [])
        groups = parameter_groups(
            model,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            decoupled=recipe.decoupled_weight_decay,
            bias_lr_factor=recipe.bias_lr_factor,
            head_lr_factor=recipe.head_lr_factor,
            head_apart=hidden_alone,
            backbone_lr_factor=recipe.backbone_lr_factor,
            head=head,
            layer_decay=recipe.layer_decay,
            layers=layers_of(model, head=head) if recipe.layer_decay != 1.0 else (),
        )
        optimizer = OPTIMIZER_CHOICES.call(
            recipe.optimizer, groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov
        )
        _keep_own_rates(optimizer, lr=recipe.lr)
        precision = choose_precision(recipe.precision, device)
        lookahead = LOOKAHEAD_CHOICES.call(recipe.lookahead, model)
        state = cls(model, optimizer, ema_decay=recipe.ema_decay, precision=precision, lookahead=lookahead)
        state.backbone = backbone if recipe.freeze_epochs else []
        return state

    def freeze(self, *, frozen: bool) -> None:
        """Leave the backbone out of training, or take it in again."""
        for parameter in self.backbone:
            parameter.requires_grad_(not frozen)

    @property
    def evaluated_model(self) -> nn.Module:
        """The weights that are judged: the moving average where there is one, else the model's own."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as tensors, numbers and strings, not copied."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "lookahead": self.lookahead.slow if self.lookahead else None,
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.ema:
            self.ema.load_state_dict(saved["ema"])
        if self.lookahead:
            self.lookahead.load(saved["lookahead"])
        if saved["scaler"]:  # none when it was saved in another precision: `auto` may resolve otherwise here
            self.scaler.load_state_dict(saved["scaler"])
        self.epoch = saved["epoch"]
        self.step = saved["step"]


def evaluated_weights(saved: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights of `TrainState.evaluated_model` from what `TrainState.state_dict` has returned."""
    if saved["ema"] is None:
        return saved["model"]
    averaged: dict[str, Tensor] = saved["ema"]  # of a MovingAverage, which counts its updates beside its module
    return {name.removeprefix("module."): one for name, one in averaged.items() if name.startswith("module.")}


def _keep_own_rates(optimizer: torch.optim.Optimizer, *, lr: float) -> None:
    """Note the learning rate that each group has been given as a multiple of `lr`, for the schedule to start from.

    Groups of `parameter_groups` say it already, unless an optimizer of the user's has changed theirs or made its own.
    """
    for group in optimizer.param_groups:
        own = group.get("lr")
        if own is not None and float(own) != lr * group.get("lr_factor", 1.0):
            group["lr_factor"] = float(own) / lr


def _first_images(data: TrainingData) -> Tensor:
    """Return some training images, normalised, (N, 3, H, W) float32 on the device: at most 60 MB of them, or one.

    The first ones; but where a class is missing among them, because the images are in the order of their classes, the
    same number at equal distances.
    """
    count = len(data.train)
    pixels = math.prod(data.train.images.shape[1:3])
    rows = torch.arange(min(count, INITIAL_IMAGES, max(1, INITIAL_PIXELS // pixels)))
    labels = data.train.labels.cpu()
    if len(labels[rows].unique()) < len(labels.unique()):
        rows = torch.linspace(0, count - 1, len(rows), dtype=torch.float64).round().long()
    images = data.train.pixels(rows.to(data.train.labels.device))
    return normalize(images.permute(0, 3, 1, 2), mean=data.mean, std=data.std)
