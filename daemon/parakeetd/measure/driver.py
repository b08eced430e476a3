"""NVIDIA's driver, asked through its library, which comes with the driver and needs no CUDA installation."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVIDIA's driver library answers."""

    cuda: tuple[int, int]
    """Newest CUDA version that it serves."""
    gpus: tuple[str, ...]
    """Names of the GPUs that this process may use."""
    failure: str = ""
    """The driver's own words when it finds none."""


def installed_driver() -> Driver | None:
    """Ask the driver; None where its library is not installed."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = (number.value // 1000, number.value % 1000 // 10)
    count = ctypes.c_int(0)
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
        code = cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetName(name, 256, device)
        if code == 0:
            names.append(name.value.decode(errors="replace"))
    if names:
        return Driver(version, tuple(names))
    reason = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(reason))
    return Driver(version, (), (reason.value or b"no device").decode(errors="replace"))


def driver_is_installed() -> bool:
    """Whether the driver's library is there. Asks nothing of the GPU, which may sleep."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of NVML's header."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


_UNKNOWN = 2**64 - 1
_MOST_PROCESSES = 256


def memory_of_process(pid: int, nvml: ctypes.CDLL | None = None) -> int | None:
    """Bytes that a process holds on all GPUs, by NVIDIA's management library.

    Args:
        nvml: that library, when it is not the installed one.

    Returns:
        None where it does not tell, as in a container that numbers its processes by itself.
    """
    try:
        nvml = nvml or ctypes.CDLL("libnvidia-ml.so.1")
        running = nvml.nvmlDeviceGetComputeRunningProcesses_v3
    except (OSError, AttributeError):
        return None
    count = ctypes.c_uint(0)
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return None
    found: list[int] = []
    for index in range(count.value):
        device, number = ctypes.c_void_p(), ctypes.c_uint(_MOST_PROCESSES)
        processes = (_Process * _MOST_PROCESSES)()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
            continue
        if running(device, ctypes.byref(number), processes):
            continue
        found += [
            item.used for item in processes[: number.value] if item.pid == pid and item.used != _UNKNOWN
        ]
    return sum(found) if found else None
