from __future__ import annotations

import pytest

from parakeetd.routing import DeviceState, choose

BOTH = [DeviceState("cpu", True), DeviceState("cuda", True)]


@pytest.mark.parametrize(("seconds", "device"), [(0.5, "cpu"), (3.99, "cpu"), (4.0, "cuda"), (20.0, "cuda")])
def test_the_length_decides_between_two_healthy_devices(seconds: float, device: str) -> None:
    assert choose(seconds, BOTH) == device


@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_without_a_gpu_everything_goes_to_the_cpu(seconds: float) -> None:
    assert choose(seconds, [DeviceState("cpu", True)]) == "cpu"


def test_a_device_that_fails_gets_nothing_while_another_works() -> None:
    assert choose(20.0, [DeviceState("cpu", True), DeviceState("cuda", False)]) == "cpu"
    assert choose(0.5, [DeviceState("cpu", False), DeviceState("cuda", True)]) == "cuda"


def test_an_unhealthy_device_is_better_than_none() -> None:
    assert choose(0.5, [DeviceState("cpu", False)]) == "cpu"


def test_a_segment_is_not_tried_twice_on_a_device() -> None:
    assert choose(20.0, BOTH, tried={"cuda"}) == "cpu"
    assert choose(20.0, BOTH, tried={"cuda", "cpu"}) is None


def test_the_threshold_can_be_moved() -> None:
    assert choose(1.0, BOTH, threshold_seconds=0.0) == "cuda"
    assert choose(19.0, BOTH, threshold_seconds=20.0) == "cpu"
