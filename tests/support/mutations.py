"""Seeded changes to good input: bytes, and trees as JSON and TOML have them. The same seed gives the same changes."""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    9,
    127,
    128,
    255,
    256,
    4000,
    16_000,
    32_767,
    32_768,
    65_535,
    2**24,
    2**31 - 1,
    2**31,
)
_NUMBERS_LONG = (*_NUMBERS, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, 10**30)
_BYTES = (0, 1, 0x0A, 0x22, 0x27, 0x2D, 0x2E, 0x30, 0x39, 0x5B, 0x5D, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)

VALUES: tuple[Any, ...] = (
    *(number for number in _NUMBERS_LONG),
    *(-number for number in _NUMBERS_LONG),
    *(0.0, 0.5, -0.5, 1e-9, 1e300, math.inf, -math.inf, math.nan),
    *(
        True,
        False,
        None,
        "",
        " ",
        "x",
        "0",
        "-1",
        "\0",
        "\n",
        "ünïcödé ▁",
        "\ud800",
        "/etc/passwd",
        "../..",
        "x" * 5000,
    ),
    *([], [[]], [None], [0], [1, 1, 1], [-1], ["x"], [{}], list(range(1000)), {}, {"x": {}}, {"": 0}),
)
"""What may stand in a tree in place of any other value."""


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """`data` with one to eight changes, the fewer the oftener.

    Args:
        others: good input to take pieces from.
    """
    changed = bytearray(data)
    for _ in range(1 + min(7, int(random.expovariate(0.8)))):
        random.choice(_CHANGES)(changed, others, random)
    return bytes(changed)


def mutated_tree(tree: Any, random: Random) -> Any:
    """A copy of a tree of dictionaries and lists with one to three of its values changed, moved, left out or added."""
    changed = copy.deepcopy(tree)
    for _ in range(1 + min(2, int(random.expovariate(1.2)))):
        places = list(_places(changed))
        if not places:
            return random.choice(VALUES)
        holder, key = random.choice(places)
        match random.randrange(8):
            case 0:
                del holder[key]
            case 1:
                other, name = random.choice(places)
                holder[key] = copy.deepcopy(other[name])
            case 2 if isinstance(holder, dict):
                holder[str(random.choice(VALUES))] = random.choice(VALUES)
            case 3 if type(holder[key]) in (int, float):
                holder[key] = random.choice((-1, 0, 1, 2, 10)) * holder[key] + random.choice((-1, 0, 1))
            case 4 if isinstance(holder[key], str):
                text = mutated(holder[key].encode("utf-8", "surrogatepass"), (), random)
                holder[key] = text.decode("utf-8", "replace")
            case _:
                holder[key] = copy.deepcopy(random.choice(VALUES))
    return changed


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each value of a tree as the dictionary or list that holds it and its place there."""
    keys: Sequence[Any] = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _place(data: bytearray, random: Random) -> int:
    """Somewhere in the data, its beginning more often: headers are there."""
    most = min(64, len(data)) if random.random() < 0.6 else len(data)
    return random.randrange(most + 1)


def _flip(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    if data:
        data[min(_place(data, random), len(data) - 1)] ^= 1 << random.randrange(8)


def _set(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    if data:
        data[min(_place(data, random), len(data) - 1)] = random.choice(_BYTES)


def _number(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    """A whole number in the size and order of a binary format."""
    kind = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    number = random.choice(_NUMBERS_LONG) % 2 ** (8 * size)
    at = _place(data, random)
    data[at : at + size] = struct.pack(kind, number)


def _digits(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    """A number as text."""
    at = _place(data, random)
    data[at:at] = str(random.choice((1, -1)) * random.choice(_NUMBERS_LONG)).encode()


def _insert(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 16, 100)))


def _remove(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 8, 64, 1000))]


def _repeat(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    at = _place(data, random)
    piece = bytes(data[at : at + random.choice((1, 4, 16, 64))])
    data[at:at] = piece * random.choice((1, 2, 50))


def _cut(data: bytearray, _others: Sequence[bytes], random: Random) -> None:
    del data[_place(data, random) :]


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    """A piece of other good input."""
    other = random.choice(others) if others else bytes(data)
    begin = random.randrange(len(other) + 1)
    at = _place(data, random)
    piece = other[begin : begin + random.choice((4, 16, 64, 1000))]
    data[at : at + random.choice((0, len(piece)))] = piece


_CHANGES = (_flip, _flip, _set, _number, _number, _digits, _insert, _remove, _repeat, _cut, _splice)
