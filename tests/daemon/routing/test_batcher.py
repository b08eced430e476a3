"""Which pieces are computed together."""

from __future__ import annotations

import pytest

from parakeetd.routing.batcher import (
    COMPANY_SECONDS,
    INTERIM_BATCH_SECONDS,
    Batch,
    BatchLimits,
    Piece,
    Time,
    company_seconds,
    joined,
)

LIMITS = BatchLimits(pieces=4, seconds=40.0)


def gpu(seconds: float, count: int) -> float:
    return 0.05 + 0.001 * seconds * count


def cpu(seconds: float, count: int) -> float:
    return 0.1 * seconds * count


def piece(seconds: float, *, final: bool = True, submitted: float = 0.0) -> Piece:
    return Piece(seconds, final, submitted)


def batch(*seconds: float, final: bool = True, time: Time = gpu) -> Batch[Piece]:
    return Batch([piece(each, final=final) for each in seconds], time(max(seconds), len(seconds)))


def test_pieces_of_like_length_are_computed_together_where_that_is_cheaper() -> None:
    assert joined(batch(5.0), piece(6.0), gpu, LIMITS) == pytest.approx(gpu(6.0, 2))


def test_pieces_are_computed_one_by_one_where_a_batch_does_not_pay() -> None:
    assert joined(batch(5.0, time=cpu), piece(5.0), cpu, LIMITS) is None


@pytest.mark.parametrize(("shorter", "longer", "together"), [(4, 6, True), (4, 6.1, False), (0.1, 0.6, True)])
def test_padding_is_bounded(shorter: float, longer: float, together: bool) -> None:
    assert (joined(batch(shorter), piece(longer), gpu, LIMITS) is not None) == together
    assert (joined(batch(longer), piece(shorter), gpu, LIMITS) is not None) == together


def test_a_batch_holds_so_many_pieces() -> None:
    assert joined(batch(1, 1, 1), piece(1), gpu, LIMITS) is not None
    assert joined(batch(1, 1, 1, 1), piece(1), gpu, LIMITS) is None


def test_a_batch_holds_so_many_padded_seconds() -> None:
    assert joined(batch(15, 15), piece(13), gpu, LIMITS) is None
    assert joined(batch(13, 13), piece(13), gpu, LIMITS) is not None


def test_finals_and_interims_are_not_mixed() -> None:
    assert joined(batch(1), piece(1, final=False), gpu, LIMITS) is None
    assert joined(batch(1, final=False), piece(1), gpu, LIMITS) is None


def test_interims_are_not_gathered_until_a_final_would_wait_for_long() -> None:
    def steep(seconds: float, count: int) -> float:
        return 0.1 + 0.06 * count

    assert joined(batch(1, final=False, time=steep), piece(1, final=False), steep, LIMITS) is not None
    assert steep(1, 3) > INTERIM_BATCH_SECONDS
    assert joined(batch(1, 1, final=False, time=steep), piece(1, final=False), steep, LIMITS) is None
    assert joined(batch(1, 1, time=steep), piece(1), steep, LIMITS) is not None


def test_what_was_in_a_batch_that_failed_is_computed_by_itself() -> None:
    suspect = piece(1)
    suspect.alone = True
    assert joined(batch(1), suspect, gpu, LIMITS) is None
    assert joined(Batch([suspect], gpu(1, 1)), piece(1), gpu, LIMITS) is None


def test_a_free_device_waits_a_few_milliseconds_when_finals_come_in_a_burst() -> None:
    left = company_seconds(batch(5), 0.001, gap_seconds=0.001, time=gpu, limits=LIMITS)
    assert left == pytest.approx(COMPANY_SECONDS - 0.001)
    assert company_seconds(batch(5), 0.005, gap_seconds=0.001, time=gpu, limits=LIMITS) == 0


@pytest.mark.parametrize(
    ("waiting", "gap_seconds", "time", "why"),
    [
        (batch(5), 0.5, gpu, "company is not likely"),
        (batch(5, time=cpu), 0.001, cpu, "company does not pay"),
        (batch(5, 5, 5, 5), 0.001, gpu, "the batch is full"),
        (batch(5, final=False), 0.001, gpu, "interims do not hold a device"),
    ],
)
def test_a_free_device_does_not_wait_for_nothing(
    waiting: Batch[Piece], gap_seconds: float, time: Time, why: str
) -> None:
    assert company_seconds(waiting, 0.0, gap_seconds=gap_seconds, time=time, limits=LIMITS) == 0, why
