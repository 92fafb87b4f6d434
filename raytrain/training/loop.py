"""The training loop: plain PyTorch, one generator, no callbacks.

    state = TrainState.create(recipe, num_classes=10, device=device)
    for metrics in train(recipe, state, data):
        print(metrics)

Between two items `state` is complete: save it, and a run that loads it goes on as if it had never stopped,
bit for bit on a CPU. Randomness, that of dropout included, is a function of (seed, epoch, rank), so there is no
generator state to keep.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from raytrain.data.balance import balanced_weights
from raytrain.data.batches import DeviceImages, exact_dtype, images_per_step, parts_of_share, steps_per_epoch
from raytrain.errors import DivergenceError
from raytrain.metrics.epoch import EpochMetrics, Evaluation
from raytrain.metrics.selection import SELECTIONS
from raytrain.models.head import without_batch_statistics
from raytrain.optim.schedules import learning_rate_factor
from raytrain.training.choices import LOSS_CHOICES, SCHEDULE_CHOICES
from raytrain.training.devices import autocast, seeded_draws
from raytrain.training.evaluation import TrainingData, evaluate, rank_and_world_size, reduce_sums
from raytrain.training.inputs import evaluated_at_once, training_inputs
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

SMALLEST_SCALE = 2.0**-10
"""Factor of the loss below which fp16 has not just left out some batches: the gradients are beyond any scale."""


def train(recipe: Recipe, state: TrainState, data: TrainingData) -> Iterator[EpochMetrics]:
    """Train from where `state` is to the recipe's last epoch, and yield after each epoch.

    Under an initialised `torch.distributed` every rank runs this on the whole data: each takes its share of
    every batch (`recipe.batch_size` is the global size), gradients are averaged over its images, and
    losses and counts are summed over ranks, so all ranks yield the same numbers. BatchNorm normalises by the
    rank's own share of the batch, or with `recipe.sync_batchnorm` by the whole.

    Raises:
        DivergenceError: The training or validation loss is not finite.
    """
    model = None
    detailed = SELECTIONS[recipe.select].detailed
    at_once = evaluated_at_once(recipe, data)
    weights = None
    if recipe.class_weights == "balanced":
        weights = balanced_weights(data.train.labels, classes=data.num_classes).to(data.device)
    # After its first step, DistributedDataParallel sorts its buckets of gradients anew, and more than two ranks then
    # add them up in another order: a trial that goes on after an epoch would differ in the last bit. So each epoch
    # begins as such a trial does. GPUs promise no equal bits, and torch.compile would compile anew each time.
    anew = rank_and_world_size()[1] > 2 and state.device.type == "cpu" and not recipe.compile
    while state.epoch < recipe.epochs:
        if model is None or anew or state.epoch == recipe.freeze_epochs:
            model = None
            if recipe.freeze_epochs or anew:
                gc.collect()  # what DistributedDataParallel has hooked into the gradients goes with it, on every rank
            state.freeze(frozen=state.epoch < recipe.freeze_epochs)
            model = _forward_model(recipe, state)  # it learns what is trained when it is made
            _share(state)
        started = time.perf_counter()
        epoch = state.epoch + 1
        rank = rank_and_world_size()[0]
        with seeded_draws(recipe.seed, state.epoch, rank, 3, device=state.device):
            running = _train_epoch(recipe, state, model, data, weights)
        val = _evaluate_split(state, data, data.val, at_once=at_once, detailed=detailed) if len(data.val) else None
        test = _evaluate_split(state, data, data.test, at_once=at_once) if recipe.track_test else None
        for what, loss in (("training", running.loss), ("validation", val.loss if val else 0.0)):
            if not math.isfinite(loss):
                raise DivergenceError(epoch, of=what)
        state.epoch = epoch
        rates = [(group["lr"], group.get("lr_factor", 1.0)) for group in state.optimizer.param_groups]
        lr = next((rate / own for rate, own in rates if own), 0.0)  # 0 is of a group that the user does not train
        seconds = time.perf_counter() - started
        yield EpochMetrics(epoch, running.loss, running.accuracy, val, test, lr, seconds)


def _train_epoch(
    recipe: Recipe, state: TrainState, model: nn.Module, data: TrainingData, weights: Tensor | None
) -> Evaluation:
    world_size = rank_and_world_size()[1]
    steps = steps_per_epoch(len(data.train), batch_size=recipe.batch_size, world_size=world_size)
    together = images_per_step(len(data.train), batch_size=recipe.batch_size, world_size=world_size)
    split = partial(parts_of_share, most=recipe.accumulate, images=together, world_size=world_size)
    # Sums stay on the device and are read once: `.item()` at every step makes a GPU wait for the host.
    sums = torch.zeros(2, dtype=exact_dtype(state.device), device=state.device)  # loss, correct
    seen = 0
    total_steps = recipe.epochs * steps
    schedule = SCHEDULE_CHOICES.function(recipe.schedule)
    loss = LOSS_CHOICES.bound(recipe.loss)
    model.train()
    if state.epoch < recipe.freeze_epochs:
        without_batch_statistics(model)
    for inputs, targets in training_inputs(recipe, data, epoch=state.epoch):
        factor = learning_rate_factor(
            state.step,
            total_steps=total_steps,
            warmup_steps=round(recipe.warmup_epochs * steps),
            schedule=schedule,
        )
        factor = float(factor)  # a schedule of the user's may return a float of NumPy, which no checkpoint would load
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.lr * group.get("lr_factor", 1.0) * factor
        state.optimizer.zero_grad(set_to_none=True)
        parts = list(zip(split(inputs), split(targets), strict=True))
        batch = torch.zeros_like(sums)
        per_rank = together / world_size if weights is None else _total_weight(targets, weights) / world_size
        for number, (images, classes) in enumerate(parts, start=1):
            with _gradients_shared(model, now=number == len(parts)):
                batch += _backward(recipe, state, model, images, classes, loss=loss, per_rank=per_rank, weights=weights)
        stepped = _step(recipe, state)
        if stepped:
            state.step += 1
            if state.lookahead:
                state.lookahead.follow(state.model, step=state.step, total_steps=total_steps)
            if state.ema:
                state.ema.update_parameters(state.model)
        if stepped or batch.isfinite().all():
            sums += batch
            seen += len(targets)
    if state.lookahead and state.epoch + 1 == recipe.epochs:
        state.lookahead.finish(state.model, step=state.step)
    _share(state)
    if state.scaler.is_enabled() and state.scaler.get_scale() < SMALLEST_SCALE:
        sums.fill_(torch.nan)
    return reduce_sums(sums, seen)


def _total_weight(targets: Tensor, weights: Tensor) -> Tensor:
    """Return what the weighted losses of a batch are divided by, over all ranks: a scalar.

    As PyTorch's CrossEntropyLoss has it: the weights of the images' classes, and of mixed images their number.

    Args:
        targets: This rank's targets, (B,) int64, or (B, classes) float32.
        weights: Weight of each class, (classes,).
    """
    total = weights[targets].sum() if targets.ndim == 1 else weights.new_tensor(float(len(targets)))
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def _backward(
    recipe: Recipe,
    state: TrainState,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Callable[..., Tensor],
    per_rank: float | Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Add the gradients of some images to those that are there, and return their summed loss and correct ones, (2,).

    Args:
        recipe: The recipe.
        state: Its state.
        model: The model, as it is called.
        inputs: (B, 3, H, W) float32.
        targets: (B,) int64, or (B, classes) float32.
        loss: Loss function, with the recipe's arguments bound.
        per_rank: Images of a batch per rank, or their weight, of which the gradient is the mean.
        weights: Weight of each class in the loss, (classes,); None for equal ones.
    """
    exact = exact_dtype(state.device)
    with autocast(state.device, state.precision):
        logits: Tensor = model(inputs)
    # mixed targets are soft already
    smoothing = recipe.label_smoothing if targets.ndim == 1 or recipe.mix_smoothing else 0.0
    classes = targets if targets.ndim == 1 else targets.argmax(dim=1)
    correct = (logits.detach().argmax(dim=1) == classes).sum()
    if weights is not None:
        whole = F.cross_entropy(logits.float(), targets, weights, label_smoothing=smoothing, reduction="sum")
        state.scaler.scale(whole / per_rank).backward()
        return torch.stack([whole.detach().to(exact), correct.to(exact)])
    choices = {"num_classes": logits.shape[1], "label_smoothing": smoothing}
    value = loss(logits.float(), targets, **choices)
    # DistributedDataParallel averages over ranks, and some may have an image more than others: images count alike
    state.scaler.scale(value * (len(targets) / per_rank)).backward()
    return torch.stack([value.detach().to(exact) * len(targets), correct.to(exact)])


def _step(recipe: Recipe, state: TrainState) -> bool:
    """Change the weights by their gradients; return False where fp16 left a number too large and nothing changed.

    The scaler then halves its factor. Of some thousand steps this costs a handful, most of them the first.
    """
    if recipe.grad_clip:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.grad_clip)
    before = state.scaler.get_scale()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return state.scaler.get_scale() >= before


def _gradients_shared(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """Return a context in which the ranks average their gradients in a backward pass, or do not yet."""
    ddp = getattr(model, "_orig_mod", model)  # torch.compile wraps what it is given
    return ddp.no_sync() if isinstance(ddp, DistributedDataParallel) and not now else nullcontext()


def _share(state: TrainState) -> None:
    """Give every rank the BatchNorm statistics and the slow weights of rank 0.

    Each rank's come from its own share of the batches, and DistributedDataParallel evens them out only before the
    next step: without this, ranks would evaluate different models, and none of them the one that rank 0 saves.
    """
    if not dist.is_initialized():
        return
    # not state.ema.buffers(), whose count of updates is on the CPU, where NCCL sends nothing; it is equal on all ranks
    averaged = state.ema.module.buffers() if state.ema else ()
    slow = state.lookahead.slow if state.lookahead else ()
    for tensor in (*state.model.buffers(), *averaged, *slow):
        dist.broadcast(tensor, src=0)


def _evaluate_split(
    state: TrainState, data: TrainingData, images: DeviceImages, *, at_once: int, detailed: bool = False
) -> Evaluation:
    how: dict[str, Any] = {"data": data, "precision": state.precision, "batch_size": at_once}
    return evaluate(state.evaluated_model, images, detailed=detailed, **how)


def _forward_model(recipe: Recipe, state: TrainState) -> nn.Module:
    model: nn.Module = state.model
    if rank_and_world_size()[1] > 1:
        on_gpu = state.device.type == "cuda"
        model = DistributedDataParallel(model, device_ids=[state.device.index] if on_gpu else None)
    if recipe.compile:
        model = torch.compile(model)  # pyright: ignore[reportAssignmentType]
    return model
