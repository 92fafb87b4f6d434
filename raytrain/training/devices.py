"""The device and the arithmetic that a training run uses."""

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import torch

from raytrain.data.batches import seed_of
from raytrain.errors import PreflightError, counted
from raytrain.machine import DEVICE, named_device, usable_cores

log = logging.getLogger(__name__)


def choose_device() -> torch.device:
    """Return this process's GPU when it has one that torch can use, else the CPU."""
    if torch.cuda.is_available():
        index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
        return torch.device("cuda", index)
    return torch.device("cpu")


def local_device() -> torch.device:
    """Return the device of a run in this process: the one that RAYTRAIN_DEVICE names, else that of `choose_device`.

    Apple's GPU is taken only if it is named, as mps: nobody has tried it yet.

    Raises:
        PreflightError: The variable names another device, or one that this PyTorch cannot use.
    """
    match named_device():
        case "":
            return choose_device()
        case "cpu":
            return torch.device("cpu")
        case "mps":
            if torch.backends.mps.is_available():
                return torch.device("mps")
            raise PreflightError(f"{DEVICE}=mps: PyTorch finds no GPU of Apple here; unset it, or set cpu")
        case other:
            raise PreflightError(f"{DEVICE}={other}: set cpu or mps, or unset it to use an NVIDIA GPU")


def prepare(device: torch.device, *, threads: int | None = None) -> None:
    """Set this process up to train on `device`.

    Args:
        device: The device to train on.
        threads: Number of CPU threads of PyTorch; None leaves PyTorch's own choice.
    """
    if not keep_freed_memory() and device.type == "cpu":
        _say_that_memory_is_given_back()
    if threads:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = (
            True  # one shape of batch for the whole run: try the kernels once, keep the best
        )


def allotted_threads() -> int | None:
    """Return the number of CPU threads of PyTorch where it would take more than it has cores; None leaves its choice.

    PyTorch counts cores, and knows nothing of a control group that gives a container the time of some of them. What
    OMP_NUM_THREADS says is the user's choice.
    """
    cores = usable_cores()
    return cores if cores < torch.get_num_threads() and not os.environ.get("OMP_NUM_THREADS") else None


def keep_freed_memory() -> bool:
    """Have glibc keep the memory that PyTorch frees on the CPU, and return whether it does.

    A batch of 1,000 images and more has activations of many megabytes. glibc returns each to the kernel and takes it
    anew in the next step, zeroed, page by page; that can take longer than the arithmetic. These are its own settings
    (man 3 mallopt), for this process and from now on. Another C library has none; where another allocator is loaded in
    front of it, they are set without effect.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in _MALLOC)


_MALLOC = (
    (-4, 0),  # M_MMAP_MAX: take nothing by mmap, which is always given back
    (-1, -1),  # M_TRIM_THRESHOLD: never give back the top of the heap
    (-2, 2**28),  # M_TOP_PAD: take 256 MiB more than is asked for
    (-8, 1),  # M_ARENA_MAX: one heap for all threads; the others could hold 64 MiB each
)


@cache
def _say_that_memory_is_given_back() -> None:
    """Log it, once in this process, with the system and the C library that are there."""
    log.info(
        "freed memory may go back to the system at each step, which slows large batches down: mallopt, by which glibc "
        "would keep it, is not there or refuses (%s)",
        " ".join(filter(None, (sys.platform, *platform.libc_ver()))),
    )


@contextmanager
def seeded_draws(*key: int, device: torch.device) -> Generator[None]:
    """Let PyTorch's own generators, of the CPU and of a device, depend on a key; afterwards they are as they were.

    Layers such as dropout draw from these, and take no other.

    Args:
        key: Numbers, such as seed, epoch, rank and purpose.
        device: The device that computes.
    """
    seed = seed_of(*key)
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    # not torch.manual_seed, which would also seed every other accelerator
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        if mps is None:
            yield
            return
        torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            torch.mps.set_rng_state(mps)


def device_name(device: torch.device) -> str:
    """Return "cpu", "mps", or what kind of GPU it is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def gpu_bytes(device: torch.device) -> int:
    """Return the most bytes of GPU memory that this process has held on a device, on mps those of now; 0 on a CPU."""
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def choose_precision(precision: str, device: torch.device) -> str:
    """Return `precision`, with auto resolved to what `device` computes fast in: bf16, fp16 or fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp32"
    # Without these instructions bf16 on a CPU is emulated, and slower than fp32.
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "fp32"


_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return a context in which `device` computes in `precision`: fp32, bf16 or fp16."""
    return torch.autocast(device.type, dtype=_AUTOCAST[precision], enabled=precision != "fp32")


def this_machine() -> dict[str, float]:
    """Return the "CPU" cores and "GPU"s of this machine."""
    return {"CPU": float(usable_cores()), "GPU": float(torch.cuda.device_count())}


def try_device(device: torch.device | None = None) -> str:
    """Compute something on a device and return what it is, such as "NVIDIA L4, bf16".

    Args:
        device: The device; None for that of `choose_device`.

    Raises:
        RuntimeError: It cannot compute: a GPU that is listed may have a driver that is too old for this PyTorch.
    """
    device = device or choose_device()
    precision = choose_precision("auto", device)
    with autocast(device, precision):
        product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    if product.float().sum().item() != 64**3:
        raise RuntimeError(f"{device} computes a product of ones wrong")
    name = f"{counted(usable_cores(), 'CPU core')}, no GPU" if device.type == "cpu" else device_name(device)
    return f"{name}, {precision}"
