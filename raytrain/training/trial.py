"""One trial from start to end: go on from its checkpoint, train, save, and measure once at the end.

It depends neither on Ray nor on the run folder: `reports` yields the reports, and the caller records them.
"""

import copy
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raytrain.background import repeating
from raytrain.data.batches import steps_per_epoch
from raytrain.errors import counted
from raytrain.metrics.epoch import DETAILS, EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.metrics.selection import SELECTIONS
from raytrain.models.normalization import Channels
from raytrain.models.weights import load_weights
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.checkpoint import Checkpoint
from raytrain.training.devices import choose_precision, device_name
from raytrain.training.evaluation import TrainingData, evaluate, evaluate_views, predict, rank_and_world_size
from raytrain.training.initial.copies import stored_weights
from raytrain.training.initial.sources import NONE
from raytrain.training.inputs import evaluated_at_once
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

log = logging.getLogger(__name__)

CHECKPOINT_SHARE = 0.02
"""Largest share of the training time that writing checkpoints may take."""


_PRECISION = "precision"
"""Key of a checkpoint's state: the arithmetic in which its epochs were trained."""
_NORMALIZATION = "normalization"
"""Key of a checkpoint's state: the mean and the deviation of each channel that its images were normalised by."""


@dataclass
class _Best:
    """The weights to measure at the end, of the epoch that is best on validation by the recipe's `select`.

    Small validation splits tie often; then the lower loss decides.
    """

    epoch: int
    accuracy: float
    loss: float
    weights: dict[str, Tensor]
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    top5_accuracy: float | None = None
    ece: float | None = None

    @property
    def val(self) -> Evaluation:
        """The evaluation of the weights on the validation split."""
        return Evaluation(self.loss, self.accuracy, **{name: getattr(self, name) for name in DETAILS})


class TrialRun:
    """A trial set up in this process, from its newest checkpoint if it has one.

    Attributes:
        recipe: The recipe that is trained.
        state: The training state, complete whenever `reports` is suspended.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        data: TrainingData,
        device: torch.device,
        checkpoints: Folder,
        run: Folder | None = None,
    ) -> None:
        """Set up a trial.

        Args:
            recipe: The recipe to train.
            data: The data.
            device: The device to train on.
            checkpoints: Folder of its checkpoints.
            run: The run folder, where the weights are that `recipe.init` names; None where it names none.
        """
        saved = checkpoint.load(checkpoints)
        weights = None
        if recipe.init != NONE and saved is None:
            assert run, "a trial with init belongs to a run"
            weights = stored_weights(run, recipe.init, recipe.arch)
        mean, std = normalization_of(recipe, saved, mean=data.mean, std=data.std)
        data = dataclasses.replace(data, mean=mean, std=std, channels_last=recipe.channels_last)
        self.recipe = recipe
        begun = recipe.replace(precision=_begun_in(recipe, saved, device))
        self.state = TrainState.create(
            begun,
            num_classes=data.num_classes,
            device=device,
            data=data,
            weights=weights,
            restored=saved is not None,
        )
        self._data = data
        self._checkpoints = checkpoints
        self._best: _Best | None = None
        self._history: list[EpochMetrics] = []
        if saved:
            self.state.load_state_dict(saved.state)
            self._best = _Best(**saved.best) if saved.best else None
            self._history = [EpochMetrics.from_dict(metrics) for metrics in saved.history]

    def reports(
        self, *, after: int = 0, until: int | None = None, ends_soon: Callable[[], bool] = lambda: False
    ) -> Iterator[Report]:
        """Yield a report for each epoch later than `after`, training those that the checkpoint does not hold.

        The last one always comes, because only it carries `final`.

        A checkpoint is written before an epoch is reported: after the last one always, after others as long as
        writing takes no more than `CHECKPOINT_SHARE` of the time, because epochs of a second are not worth a
        checkpoint each. Under `torch.distributed` every rank yields the same and rank 0 writes.

        Args:
            after: Last epoch that is on record.
            until: Epoch whose report is the last one; None for all epochs of the recipe.
            ends_soon: Says whether this process is about to be ended from outside; then the epoch is saved whatever
                that takes. Every rank calls it once after each epoch that it trains.

        Raises:
            DivergenceError: The loss is not finite.
        """
        for metrics in self._history:
            if metrics.epoch > after or metrics.epoch == self.recipe.epochs:
                yield self._report(metrics)
            if metrics.epoch == until:
                return
        writing = 0.0  # seconds that the last checkpoint took
        written_at = time.perf_counter()
        for metrics in train(self.recipe, self.state, self._data):
            self._history.append(metrics)
            self._keep_best(metrics)
            now = time.perf_counter()
            must = ends_soon() or metrics.epoch in {self.recipe.epochs, until}
            if must or writing <= CHECKPOINT_SHARE * (now - written_at):
                self._save(metrics.epoch)
                written_at = time.perf_counter()
                writing = written_at - now
            if metrics.epoch > after or metrics.epoch == self.recipe.epochs:
                yield self._report(metrics)
            if metrics.epoch == until:
                return

    def watched(self, publish: Callable[[float], None], *, every: float = 1.0) -> AbstractContextManager[None]:
        """Return a context in which `publish` is called regularly with the progress within the epoch, in [0, 1].

        The loop has no callback: another thread reads its step count.

        Args:
            publish: Takes the share of the epoch that is done.
            every: Seconds between two calls.
        """
        world_size = rank_and_world_size()[1]
        steps = steps_per_epoch(len(self._data.train), batch_size=self.recipe.batch_size, world_size=world_size)

        def tell() -> None:
            publish(min(1.0, max(0.0, self.state.step / steps - self.state.epoch)))

        return repeating(tell, every=every)

    def _report(self, metrics: EpochMetrics) -> Report:
        return Report(metrics, self._measure() if metrics.epoch == self.recipe.epochs else None)

    def _keep_best(self, metrics: EpochMetrics) -> None:
        if metrics.val is None:
            return
        if self._best is None or self._quality(metrics.val) > self._quality(self._best.val):
            # a copy: the model goes on training in the same memory
            weights = self.state.evaluated_model.state_dict()  # with the versions of its modules, which stay
            for name, tensor in weights.items():
                weights[name] = tensor.clone()
            val = metrics.val
            self._best = _Best(metrics.epoch, val.accuracy, val.loss, weights, **val.details(prefix=""))

    def _quality(self, val: Evaluation) -> tuple[float, float]:
        selection = SELECTIONS[self.recipe.select]
        return selection.key(getattr(val, selection.measure), val.loss)

    def _save(self, epoch: int) -> None:
        if rank_and_world_size()[0] != 0:
            return
        best = vars(self._best) if self._best else None
        history = [dataclasses.asdict(metrics) for metrics in self._history]
        normalization = [list(map(float, self._data.mean)), list(map(float, self._data.std))]
        state = {**self.state.state_dict(), _PRECISION: self.state.precision, _NORMALIZATION: normalization}
        checkpoint.save(self._checkpoints, Checkpoint(epoch, state, best, history))

    def _measure(self) -> FinalMetrics:
        model, epoch = self.state.evaluated_model, self.state.epoch
        if self._best and self._best.epoch != epoch:
            model, epoch = copy.deepcopy(model), self._best.epoch
            load_weights(model, self._best.weights)
        data = self._data

        at_once = evaluated_at_once(self.recipe, data)
        how: Any = {"data": data, "precision": self.state.precision, "batch_size": at_once}
        train = evaluate(model, data.train, **how) if self.recipe.final_train_accuracy else None
        test, predictions = predict(model, data.test, **how)
        views = self._evaluate_views(model, how) if self.recipe.tta != "none" else None
        val = self._best.val if self._best else None  # these weights' own
        name = device_name(self.state.device)
        threads = torch.get_num_threads() if self.state.device.type == "cpu" else None
        workers = rank_and_world_size()[1]
        content, precision = predictions.to_bytes(), self.state.precision
        return FinalMetrics(epoch, train, val, test, precision, name, content, views, threads, workers)

    def _evaluate_views(self, model: nn.Module, how: dict[str, Any]) -> Evaluation:
        below, test = self.recipe.tta_below, self._data.test
        found, several = evaluate_views(model, test, tta=self.recipe.tta, below=below, **how)
        if below < 1 and rank_and_world_size()[0] == 0:
            images = counted(len(test), "test image")
            log.info("trial %s: %d of %s had several views", self.recipe.digest, several, images)
        return found


def normalization_of(
    recipe: Recipe, saved: Checkpoint | None, *, mean: Channels, std: Channels
) -> tuple[Channels, Channels]:
    """Return the mean and the standard deviation of each channel that a trial's images are normalised by.

    Those that its checkpoint was trained with: another version of a library may say others for its weights.

    Args:
        recipe: Recipe of the trial.
        saved: Its checkpoint; None where there is none yet.
        mean: Mean of each channel of the training images.
        std: Standard deviation of each channel of the training images.

    Raises:
        ModelError: The library says none for its network, and the checkpoint, of an older version, does not either.
    """
    said = saved and saved.state.get(_NORMALIZATION)
    if not said:
        return recipe.normalization(mean, std)
    (red, green, blue), (red_std, green_std, blue_std) = said
    return (red, green, blue), (red_std, green_std, blue_std)


def _begun_in(recipe: Recipe, saved: Checkpoint | None, device: torch.device) -> str:
    """Return the precision of a trial's checkpoint, in which it goes on; else that of its recipe.

    `auto` may stand for another precision on another machine, and a trial in two of them is no measurement of either.
    """
    chosen = choose_precision(recipe.precision, device)
    begun = chosen if saved is None else str(saved.state.get(_PRECISION, chosen))  # older versions did not write it
    if begun != chosen and rank_and_world_size()[0] == 0:
        log.warning(
            "trial %s began in %s on another machine and goes on in it; precision auto would be %s here, which may be "
            "faster",
            recipe.digest,
            begun,
            chosen,
        )
    return begun
