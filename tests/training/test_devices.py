"""Tests of raytrain.training.devices, with the hardware stood in for."""

import ctypes
import logging
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from raytrain.errors import PreflightError
from raytrain.training import devices
from raytrain.training.devices import (
    allotted_threads,
    autocast,
    choose_device,
    choose_precision,
    local_device,
    prepare,
    seeded_draws,
    try_device,
)
from raytrain.training.recipe import Recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(("cores", "named"), [(1, "1 CPU core"), (3, "3 CPU cores")])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cpu_that_computes_is_named_with_its_cores_and_its_precision(monkeypatch, cores, named, precision):
    monkeypatch.setattr("raytrain.training.devices.usable_cores", lambda: cores)
    capabilities = {"avx512_bf16": precision == "bf16"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert try_device(CPU) == f"{named}, no GPU, {precision}"


def test_a_device_that_computes_wrong_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "ones", torch.zeros)
    with pytest.raises(RuntimeError, match="cpu computes a product of ones wrong"):
        try_device(CPU)


def test_without_a_gpu_the_device_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == CPU


@pytest.mark.parametrize(
    ("local_rank", "gpus", "index"), [(None, 4, 0), ("2", 4, 2), ("3", 4, 3), ("1", 1, 0), ("5", 4, 1)]
)
def test_each_local_rank_takes_its_own_gpu_of_those_it_can_see(monkeypatch, local_rank, gpus, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert choose_device() == torch.device("cuda", index)


def test_a_process_gets_the_threads_it_was_given_and_keeps_its_own_otherwise():
    before = torch.get_num_threads()
    prepare(CPU, threads=before + 1)
    assert torch.get_num_threads() == before + 1
    prepare(CPU)
    assert torch.get_num_threads() == before + 1
    prepare(CPU, threads=before)


@pytest.fixture
def nothing_said():
    """Forget what was said once in this process, before and after."""
    devices._say_that_memory_is_given_back.cache_clear()
    yield
    devices._say_that_memory_is_given_back.cache_clear()


C_LIBRARIES = {
    "another system": ("darwin", SimpleNamespace(mallopt=lambda *_: 1)),
    "another C library": ("linux", SimpleNamespace()),
    "a setting that glibc does not know": ("linux", SimpleNamespace(mallopt=lambda name, _: int(name != -8))),
}


@pytest.mark.parametrize(("system", "library"), C_LIBRARIES.values(), ids=C_LIBRARIES)
@pytest.mark.usefixtures("nothing_said")
def test_where_freed_memory_cannot_be_kept_the_log_says_so_once(monkeypatch, caplog, system, library):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.libc_ver", lambda: ("musl", "1.2"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    with caplog.at_level(logging.INFO, logger="raytrain"):
        prepare(CPU)
        prepare(CPU)
    (line,) = caplog.messages
    assert line.startswith("freed memory may go back to the system")
    assert line.endswith(f"({system} musl 1.2)")


@pytest.mark.usefixtures("nothing_said")
def test_where_freed_memory_is_kept_the_log_says_nothing(monkeypatch, caplog):
    given = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=lambda *setting: given.append(setting) or 1))
    with caplog.at_level(logging.INFO, logger="raytrain"):
        prepare(CPU)
    assert given
    assert caplog.messages == []


@pytest.mark.usefixtures("nothing_said")
def test_a_run_on_a_gpu_is_told_nothing_of_the_memory_of_the_cpu(monkeypatch, caplog):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with caplog.at_level(logging.INFO, logger="raytrain"):
        prepare(GPU)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("cores", "chosen", "threads"), [(1, None, 1), (2, None, 2), (4, None, None), (64, None, None), (2, "4", None)]
)
def test_pytorch_gets_no_more_threads_than_there_is_time_for(monkeypatch, cores, chosen, threads):
    torch.set_num_threads(4)
    monkeypatch.setattr("raytrain.training.devices.usable_cores", lambda: cores)  # as a quota makes them few
    monkeypatch.delenv("OMP_NUM_THREADS")
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert allotted_threads() == threads


def test_only_on_a_gpu_are_convolution_kernels_tried_out(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    prepare(CPU)
    assert not torch.backends.cudnn.benchmark
    prepare(GPU)
    assert torch.backends.cudnn.benchmark


def test_draws_depend_on_the_key_and_leave_the_generator_as_it_was_also_after_an_error():
    before = torch.get_rng_state()

    def drawn(*key):
        with seeded_draws(*key, device=CPU):
            return torch.rand(4)

    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(2, 1))
    with pytest.raises(ZeroDivisionError), seeded_draws(1, device=CPU):
        torch.rand(1 // 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_draws_on_a_gpu_depend_on_the_key_and_leave_its_generator_as_it_was():
    before = torch.cuda.get_rng_state(GPU)

    def drawn(*key):
        with seeded_draws(*key, device=torch.device("cuda")):
            return torch.rand(4, device=GPU).cpu()

    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(2, 1))
    assert torch.equal(torch.cuda.get_rng_state(GPU), before)


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_named_precision_is_taken_as_it_is(precision, device):
    assert choose_precision(precision, device) == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu_is_bf16_where_it_is_native(monkeypatch, native, precision):
    def is_bf16_supported(*, including_emulation):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert choose_precision("auto", GPU) == precision


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False}, "fp32"), ({"avx2": True}, "fp32"), ({}, "fp32")],
)
def test_auto_on_a_cpu_is_bf16_where_it_has_the_instructions(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", CPU) == precision


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_under_autocast_a_product_is_computed_in_the_precision(precision, dtype):
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_every_precision_of_a_recipe_but_auto_can_be_computed_in():
    precisions = set(get_args(Recipe.model_fields["precision"].annotation)) - {"auto"}
    for precision in precisions:
        with autocast(CPU, precision):
            assert torch.is_autocast_enabled("cpu") == (precision != "fp32")


@pytest.mark.parametrize(("named", "expected"), [("cpu", "cpu"), ("mps", "mps"), ("", "cuda")])
def test_a_run_in_one_process_takes_the_device_that_is_named(named, expected, monkeypatch):
    monkeypatch.setenv("RAYTRAIN_DEVICE", named)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert local_device().type == expected


@pytest.mark.parametrize("named", ["mps", "gpu"])
def test_a_device_that_is_not_there_is_refused(named, monkeypatch):
    monkeypatch.setenv("RAYTRAIN_DEVICE", named)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(PreflightError, match=f"^RAYTRAIN_DEVICE={named}: .*cpu"):
        local_device()
