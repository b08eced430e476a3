"""Recognises audio that is there already, block by block, with a bounded number of segments under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from parakeetd.audio import Samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.routing import Routed, Router
from parakeetd.session.cutter import Cutter, Segment
from parakeetd.session.result import Result, final_result
from parakeetd.session.words import Seams

MAX_UNDER_WAY = 4
"""Segments of one source in the router at once: enough to keep two devices busy."""


def recognize_blocks(
    blocks: Iterable[Samples], cutter: Cutter, router: Router, decode: DecodeOptions | None = None
) -> Iterator[Result]:
    """Results of a whole recording in order; segments without text are left out.

    Args:
        blocks: the recording's samples, mono 16 kHz, in pieces of any length.
        decode: how to decode, when not by default.

    Raises:
        What `Router.submit` and its futures raise, and what `blocks` raises.
    """
    under_way: deque[tuple[Segment, Future[Routed]]] = deque()
    seams = Seams()
    for segment in _segments(blocks, cutter):
        if len(under_way) == MAX_UNDER_WAY:
            yield from _answer(under_way, cutter, seams)
        under_way.append((segment, router.submit(segment.samples, decode=decode)))
    while under_way:
        yield from _answer(under_way, cutter, seams)


def _segments(blocks: Iterable[Samples], cutter: Cutter) -> Iterator[Segment]:
    for block in blocks:
        yield from cutter.feed(block)
    yield from cutter.finish()


def _answer(
    under_way: deque[tuple[Segment, Future[Routed]]], cutter: Cutter, seams: Seams
) -> Iterator[Result]:
    segment, future = under_way.popleft()
    result = final_result(segment, future.result(), cutter.seconds, seams)
    if result.text:
        yield result
