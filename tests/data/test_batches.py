import warnings

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from raytrain.data import LabelledImages
from raytrain.data.batches import (
    DeviceImages,
    evaluation_batches,
    normalize,
    on_device,
    parts_of_share,
    permutation,
    steps_per_epoch,
    training_batches,
)
from raytrain.errors import DataError

CPU = torch.device("cpu")


def numbered(n: int) -> DeviceImages:
    """Images of which the label is the row."""
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 5, 3), dtype=np.uint8)
    return on_device(LabelledImages(images, np.arange(n)), CPU)


def test_images_on_the_cpu_share_the_memory_of_the_array():
    array = np.zeros((2, 4, 5, 3), dtype=np.uint8)
    data = on_device(LabelledImages(array, np.zeros(2, dtype=np.int64)), CPU)
    assert data.images.data_ptr() == array.ctypes.data
    assert len(data) == 2


def test_read_only_arrays_are_taken_without_a_warning():
    images, labels = np.zeros((2, 4, 5, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64)
    images.flags.writeable = labels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_device(LabelledImages(images, labels), CPU)


@pytest.mark.parametrize("free", [10_000, 100])
def test_images_stay_on_the_host_when_a_gpu_has_no_room_for_them(monkeypatch: pytest.MonkeyPatch, free: int):
    gpu, moved = torch.device("cuda", 0), []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10_000))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append(device) or tensor)
    data = on_device(LabelledImages(np.zeros((2, 4, 5, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64)), gpu)
    assert data.device == gpu
    assert moved == ([gpu, gpu] if free == 10_000 else [])  # 120 bytes are more than a quarter of 100


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_from_the_host_are_those_from_the_gpu(monkeypatch: pytest.MonkeyPatch):
    gpu, source = torch.device("cuda", 0), numbered(64)
    images = LabelledImages(source.images.numpy(), source.labels.numpy())
    resident = on_device(images, gpu)
    monkeypatch.setattr("raytrain.data.batches.RESIDENT_SHARE", 0.0)
    on_host = on_device(images, gpu)
    assert (resident.images.device, on_host.images.device) == (gpu, CPU)
    order = permutation(64, seed=0, epoch=0)
    batches = [list(training_batches(data, batch_size=16, order=order)) for data in (resident, on_host)]
    for here, there in zip(*batches, strict=True):
        assert all(torch.equal(one, other) and other.device == gpu for one, other in zip(here, there, strict=True))


def test_a_device_without_a_number_is_where_its_tensors_are():
    somewhere, numbered_device = torch.device("meta"), torch.device("meta", 0)
    assert somewhere != numbered_device  # as cuda and cuda:0
    images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8, device=somewhere)
    data = DeviceImages(images, torch.zeros(4, dtype=torch.int64, device=somewhere), numbered_device)
    (batch,) = evaluation_batches(data)
    assert [one.device.type for one in batch] == ["meta", "meta"]
    order = torch.arange(4)
    (trained,) = training_batches(data, batch_size=4, order=order)
    assert [one.device.type for one in trained] == ["meta", "meta", "meta"]


def test_memory_is_pinned_for_a_gpu_of_nvidia_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda _: pytest.fail("pinned"))
    source = numbered(4)
    data = DeviceImages(source.images, source.labels, torch.device("meta"))
    (batch,) = evaluation_batches(data)
    assert [one.device.type for one in batch] == ["meta", "meta"]


@pytest.mark.gpu
def test_a_gpu_without_a_number_gets_the_batches_of_the_first():
    data = on_device(LabelledImages(numbered(8).images.numpy(), np.arange(8)), torch.device("cuda"))
    (batch,) = evaluation_batches(data)
    assert batch[1].tolist() == list(range(8))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 16])
def test_every_rank_computes_its_share_of_a_batch_in_as_many_parts(world_size: int, most: int):
    for images in range(world_size, 24):
        shares = [torch.arange(images)[rank::world_size] for rank in range(world_size)]
        parts = [parts_of_share(share, most=most, images=images, world_size=world_size) for share in shares]
        assert len({len(one) for one in parts}) == 1
        assert 1 <= len(parts[0]) <= most
        for share, split in zip(shares, parts, strict=True):
            assert torch.equal(torch.cat(split), share)
            assert all(len(part) for part in split)
            if images % world_size == 0:
                assert [part.tolist() for part in split] == [part.tolist() for part in share.chunk(most)]


def test_a_permutation_holds_every_row_once():
    assert permutation(100, seed=0, epoch=0).sort().values.tolist() == list(range(100))


def test_a_permutation_depends_on_seed_and_epoch_only():
    orders = {(seed, epoch): permutation(50, seed=seed, epoch=epoch) for seed in range(4) for epoch in range(4)}
    torch.manual_seed(1)
    assert torch.equal(orders[1, 2], permutation(50, seed=1, epoch=2))
    assert len({tuple(order.tolist()) for order in orders.values()}) == 16


@pytest.mark.parametrize(
    ("n", "batch_size", "world_size", "steps"),
    [(10, 4, 1, 2), (8, 4, 2, 2), (3, 4, 1, 1), (3, 4, 2, 1), (4, 4, 4, 1), (2, 4, 2, 1)],
)
def test_batches_are_as_many_as_announced_and_of_one_size(n: int, batch_size: int, world_size: int, steps: int):
    order = torch.arange(n)
    for rank in range(world_size):
        batches = list(
            training_batches(numbered(n), batch_size=batch_size, order=order, rank=rank, world_size=world_size)
        )
        assert len(batches) == steps_per_epoch(n, batch_size=batch_size, world_size=world_size) == steps
        size = min(batch_size // world_size, n // world_size)
        assert [len(labels) for _, labels, _ in batches] == [size] * steps


def test_fewer_images_than_ranks_are_refused():
    with pytest.raises(DataError, match="use fewer workers"):
        steps_per_epoch(3, batch_size=8, world_size=4)


def test_ranks_together_see_the_batches_of_a_single_rank():
    data, order = numbered(23), permutation(23, seed=0, epoch=3)
    alone = [labels for _, labels, _ in training_batches(data, batch_size=6, order=order)]
    assert [labels.tolist() for labels in alone] == [order[k * 6 : k * 6 + 6].tolist() for k in range(3)]
    for rank in range(3):
        shares = training_batches(data, batch_size=6, order=order, rank=rank, world_size=3)
        assert [labels.tolist() for _, labels, _ in shares] == [batch[rank::3].tolist() for batch in alone]


def test_training_images_are_channels_last_copies_of_the_rows():
    data, order = numbered(8), permutation(8, seed=0, epoch=0)
    for images, labels, index in training_batches(data, batch_size=4, order=order):
        assert index.tolist() == labels.tolist()  # `numbered` has the row as its label
        assert images.shape == (4, 3, 4, 5)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        for image, row in zip(images, labels.tolist(), strict=True):
            assert torch.equal(image.permute(1, 2, 0), data.images[row])


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 5, 20])
def test_evaluation_sees_each_image_once_in_order_over_all_ranks(n: int, world_size: int):
    data = numbered(n)
    rows: list[int] = []
    for rank in range(world_size):
        for images, labels in evaluation_batches(data, batch_size=4, rank=rank, world_size=world_size):
            assert 1 <= len(labels) <= 4
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(images.permute(0, 2, 3, 1), data.images[labels])
            rows += labels.tolist()
    assert rows == list(range(n))


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_normalize_agrees_with_torchvision(kind: torch.dtype, dtype: torch.dtype, tolerance: float):
    (images, _), *_ = evaluation_batches(numbered(6))
    as_float = functional.to_dtype(images, torch.float32, scale=True)
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    result = normalize(images if kind == torch.uint8 else as_float, mean=mean, std=std, dtype=dtype)
    expected = functional.normalize(as_float, list(mean), list(std))
    torch.testing.assert_close(result.float(), expected, rtol=0, atol=tolerance)
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalize_leaves_its_input_as_it_is():
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()
    normalize(images, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert torch.equal(images, before)


@pytest.mark.gpu
def test_batches_on_an_accelerator_equal_those_on_the_cpu():
    host, order = numbered(8), permutation(8, seed=0, epoch=0)
    device = torch.device("cuda")
    there = DeviceImages(host.images.to(device), host.labels.to(device))
    pairs = zip(
        training_batches(host, batch_size=4, order=order),
        training_batches(there, batch_size=4, order=order),
        strict=True,
    )
    for (expected, *_), (images, *_) in pairs:
        scale = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
        torch.testing.assert_close(normalize(images, **scale).cpu(), normalize(expected, **scale))
