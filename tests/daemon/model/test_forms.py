"""Which form of the decoder serves which batch on which device."""

from __future__ import annotations

import pytest

from parakeetd.model.forms import DEFAULTS, FORMS, Choice, Decoding, Form, choose

STEPS = Decoding("steps", look_ahead=8, milliseconds=12.0)
LOOP = Decoding("loop", milliseconds=20.0)


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, STEPS), (3, STEPS), (4, LOOP), (7, LOOP), (8, STEPS), (32, STEPS)]
)
def test_a_batch_is_decoded_as_the_largest_measured_batch_up_to_its_size(
    rows: int, expected: Decoding
) -> None:
    assert choose({"cpu": {"8": STEPS, "1": STEPS, "4": LOOP}}, "cpu", FORMS).for_batch(rows) == expected


def test_a_batch_smaller_than_all_measured_ones_is_decoded_as_the_smallest() -> None:
    assert Choice({4: LOOP, 8: STEPS}).for_batch(1) == LOOP


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_device_that_was_not_measured_has_its_default(device: str) -> None:
    other = {"cpu": "cuda", "cuda": "cpu"}[device]
    assert choose({other: {"1": LOOP}}, device, FORMS).by_batch == DEFAULTS[device]


def test_the_default_is_steps_on_a_cpu_and_the_loop_on_a_gpu() -> None:
    assert choose({}, "cpu", FORMS).forms == ("steps",)
    assert choose({}, "cuda", FORMS).forms == ("loop",)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("has", [("fused",), ("steps", "fused")])
def test_a_model_without_the_measured_form_uses_one_that_it_has(device: str, has: tuple[Form, ...]) -> None:
    choice = choose({device: {"1": LOOP}}, device, has)
    assert choice.forms == has[:1]


def test_only_the_measured_forms_that_the_model_has_count() -> None:
    choice = choose({"cpu": {"1": STEPS, "8": LOOP}}, "cpu", ("steps", "fused"))
    assert choice.for_batch(8) == STEPS


@pytest.mark.parametrize(
    ("size", "decoding"), [("0", STEPS), ("-1", STEPS), ("many", STEPS), ("1", Decoding("steps", 0))]
)
def test_a_record_that_cannot_be_is_refused(size: str, decoding: Decoding) -> None:
    with pytest.raises(ValueError, match=r"decoding\.cpu"):
        choose({"cpu": {size: decoding}}, "cpu", FORMS)


def test_a_model_without_any_transducer_is_refused() -> None:
    with pytest.raises(ValueError, match="no transducer"):
        choose({}, "cpu", ())
