"""What NVIDIA's management library says of a process, by a stand-in of that library."""

from __future__ import annotations

import ctypes
import os
from typing import Any, cast

import pytest

from parakeetd.measure.driver import driver_is_installed, memory_of_process

UNKNOWN = 2**64 - 1


class Nvml:
    """Processes of each GPU: number and bytes."""

    def __init__(self, *gpus: list[tuple[int, int]], fails: bool = False) -> None:
        self._gpus = gpus
        self._fails = fails

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 9 if self._fails else 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self._gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:  # noqa: N802
        device._obj.value = index + 1
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, device: Any, number: Any, found: Any) -> int:  # noqa: N802
        processes = self._gpus[device.value - 1]
        number._obj.value = len(processes)
        for at, (pid, used) in enumerate(processes):
            # As nvml.h has it: unsigned int, unsigned long long, two unsigned int.
            place = ctypes.addressof(found) + 24 * at
            ctypes.c_uint.from_address(place).value = pid
            ctypes.c_ulonglong.from_address(place + 8).value = used
        return 0


def of(nvml: object, pid: int = 7) -> int | None:
    return memory_of_process(pid, cast(ctypes.CDLL, nvml))


def test_a_process_is_found_among_others_on_all_gpus() -> None:
    assert of(Nvml([(3, 100), (7, 3_000_000_000)], [(7, 500)])) == 3_000_000_500


@pytest.mark.parametrize(
    "nvml",
    [Nvml(), Nvml([(3, 100)]), Nvml([(7, UNKNOWN)]), Nvml([(7, 100)], fails=True), object()],
)
def test_what_is_not_told_is_not_known(nvml: object) -> None:
    assert of(nvml) is None


def test_the_installed_driver_can_be_asked() -> None:
    held = memory_of_process(os.getpid())
    assert held is None or driver_is_installed()
