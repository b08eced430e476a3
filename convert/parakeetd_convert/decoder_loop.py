"""Greedy decoding of a batch as one graph: a step from outside costs a launch, a copy and a wait on a GPU.

The rules are those of the daemon's `tdt.greedy`. Each run of the loop looks at the next frames of every piece at once
and follows the blanks among them, so that a piece takes about one run per token.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from parakeetd_convert.decoder import Decoder, DecoderParts
from parakeetd_convert.writer import GraphWriter, LoopState, Nodes


def write_greedy(decoder: Decoder, graph: GraphWriter, parts: DecoderParts) -> None:
    """Write `encoder_outputs` [B, D, T], `encoded_lengths` [B] int64 -> `tokens`, `frames`, `durations` int64 and
    `confidences` float32, all [I, B] for I runs of the loop.

    `tokens` is -1 where a run found no token of that piece; the rest is then not defined. A confidence is the
    softmax among the text tokens and blank. T is at least 1.
    """
    encoded = graph.input(
        "encoder_outputs", TensorProto.FLOAT, ["batch", decoder.architecture.d_model, "time"]
    )
    lengths = graph.input("encoded_lengths", TensorProto.INT64, ["batch"])
    pieces = _Pieces(graph, decoder, parts.look_ahead, parts.project(graph, encoded), lengths)
    none = graph.add("Mul", pieces.lengths, graph.ints(0))
    start = graph.add("Add", none, graph.ints(decoder.architecture.vocabulary))
    states = 2 * decoder.layers * decoder.hidden

    body = graph.body()
    frame, at_frame, target, prediction, memory = (graph.fresh("state") for _ in range(5))
    new_prediction, new_memory = _advance(body, decoder, parts, target, prediction, memory)
    positions = pieces.positions(body, frame)
    logits = parts.join(body, pieces.ahead(body, positions), new_prediction)
    looked = pieces.look(body, logits, positions, frame, at_frame)
    carried = [
        LoopState(none, frame, looked.frame, TensorProto.INT64),
        LoopState(none, at_frame, looked.at_frame, TensorProto.INT64),
        LoopState(start, target, looked.target, TensorProto.INT64),
        LoopState(_zeros(graph, decoder.width, lengths), prediction, new_prediction, graph.float_type),
        LoopState(_zeros(graph, states, lengths), memory, new_memory, graph.float_type),
    ]
    found = {
        "tokens": (looked.token, TensorProto.INT64),
        "frames": (looked.where, TensorProto.INT64),
        "durations": (looked.duration, TensorProto.INT64),
        "confidences": (looked.confidence, TensorProto.FLOAT),
    }
    results = graph.add_loop(body, carried, looked.again, list(found.values()))
    for (name, (_, kind)), result in zip(found.items(), results[len(carried) :], strict=True):
        graph.output(graph.add("Squeeze", result, graph.ints(2)), name, kind, ["runs", "batch"])


class _Looked:
    """What one look at the frames ahead found: a value [B, 1] each."""

    def __init__(self) -> None:
        self.token = self.where = self.duration = self.confidence = ""
        self.frame = self.at_frame = ""
        """Where the next look begins, and the tokens emitted there so far."""
        self.emitted = ""
        """A token was found."""
        self.target = ""
        """The token where one was found and frames are left, else -1."""
        self.again = ""
        """Some piece has frames left; a scalar."""


class _Pieces:
    """The frames of the batch, outside the loop, and what the loop does with them.

    Each of the small operators between the products is a launch on a GPU, so there are as few as can be: values of the
    pieces are columns [B, 1], which need no change of shape.
    """

    def __init__(self, g: GraphWriter, decoder: Decoder, look_ahead: int, frames: str, lengths: str) -> None:
        self._a = decoder.architecture
        self._look_ahead = look_ahead
        self.lengths = g.add("Unsqueeze", lengths, g.ints(1))
        """[B, 1]."""
        self._steps = g.constant(np.arange(look_ahead)[None])
        self._frames = g.add("Reshape", frames, g.ints(-1, decoder.width))
        shape = g.add("Shape", frames)
        batch, time = (g.add("Gather", shape, g.constant(np.array(axis))) for axis in (0, 1))
        self._last = g.add("Sub", time, g.ints(1))
        rows = g.add("Range", g.constant(np.array(0)), batch, g.constant(np.array(1)))
        rows = g.add("Unsqueeze", rows, g.ints(1))
        self._first = g.add("Mul", rows, time)
        self._first_looked = g.add("Mul", rows, g.ints(look_ahead))
        # Beyond the frames ahead lie those that a long duration reaches; there the walk ends.
        beyond = np.arange(look_ahead, look_ahead + max(self._a.durations) + 1)[None]
        shape = g.add("Concat", g.add("Shape", lengths), g.ints(beyond.shape[1]), axis=0)
        self._beyond = g.add("Expand", g.constant(beyond), shape)

    def positions(self, n: Nodes, frame: str) -> str:
        """The next frames of each piece, by number, [B, N]."""
        return n.add("Add", frame, self._steps)

    def ahead(self, n: Nodes, positions: str) -> str:
        """The frames at these positions, [B, N, J]; the batch's last again where there are no more."""
        places = n.add("Min", positions, self._last)
        return n.add("Gather", self._frames, n.add("Add", places, self._first), axis=0)

    def look(self, n: Nodes, logits: str, positions: str, frame: str, at_frame: str) -> _Looked:
        """Follow the blanks to the first token, the end of the piece or the end of the frames ahead."""
        tokens, count = self._a.vocabulary, len(self._a.durations)
        scores, blank, for_durations = n.add_many(
            "Split", logits, n.ints(tokens, 1, count), outputs=3, axis=-1
        )
        # The place of the maximum takes several times as long to find as the maximum, and is asked for one frame only.
        highest = n.add("ReduceMax", scores, axes=[-1], keepdims=1)
        is_blank = n.add("Squeeze", n.add("Greater", blank, highest), n.ints(2))
        duration = n.add("ArgMax", for_durations, axis=-1, keepdims=0)
        if tuple(self._a.durations) != tuple(range(count)):
            duration = n.add("Gather", n.constant(np.array(self._a.durations)), duration, axis=0)
        skipped = n.add("And", n.add("Less", positions, self.lengths), is_blank)
        step = n.add("Where", skipped, n.add("Max", duration, n.ints(1)), n.ints(0))
        target = n.add("Concat", n.add("Add", step, self._steps), self._beyond, axis=1)
        # Each time the distance that a target is away doubles.
        for _ in range((self._look_ahead - 1).bit_length()):
            target = n.add("GatherElements", target, target, axis=1)
        walked = n.add("Slice", target, n.ints(0), n.ints(1), n.ints(1))
        stop = n.add("Min", walked, n.ints(self._look_ahead - 1))

        found = _Looked()
        found.where = n.add("Add", frame, walked)
        found.duration = n.add("GatherElements", duration, stop, axis=1)
        in_reach = n.add("Less", walked, n.ints(self._look_ahead))
        found.emitted = n.add("And", in_reach, n.add("Less", found.where, self.lengths))
        flat = n.add("Reshape", logits, n.ints(-1, tokens + 1 + count))
        chosen = n.add("Gather", flat, n.add("Add", self._first_looked, stop), axis=0)
        text_or_blank = n.add("Slice", chosen, n.ints(0), n.ints(tokens + 1), n.ints(2))
        # Where blank is not the highest, the first of the highest is a token.
        best = n.add("ArgMax", text_or_blank, axis=-1, keepdims=0)
        found.token = n.add("Where", found.emitted, best, n.ints(-1))
        if n.float_type != TensorProto.FLOAT:
            text_or_blank = n.add("Cast", text_or_blank, to=TensorProto.FLOAT)
        shares = n.add("Softmax", text_or_blank, axis=-1)
        found.confidence = n.add("ReduceMax", shares, axes=[-1], keepdims=0)
        self._next(n, found, walked, at_frame)
        return found

    def _next(self, n: Nodes, found: _Looked, walked: str, at_frame: str) -> None:
        """Where each piece goes on."""
        zero = n.ints(0)
        earlier = n.add("Where", n.add("Greater", walked, zero), zero, at_frame)
        count = n.add("Add", earlier, n.ints(1))
        full = n.add("GreaterOrEqual", count, n.ints(self._a.max_symbols))
        stays = n.add("Equal", found.duration, zero)
        advance = n.add("Where", n.add("And", stays, full), n.ints(1), found.duration)
        advance = n.add("Where", found.emitted, advance, zero)
        found.frame = n.add("Add", found.where, advance)
        goes_on = n.add("And", found.emitted, n.add("Equal", advance, zero))
        found.at_frame = n.add("Where", goes_on, count, zero)
        unfinished = n.add("Less", found.frame, self.lengths)
        found.target = n.add("Where", unfinished, found.token, n.ints(-1))
        left = n.add("ReduceMax", n.add("Cast", unfinished, to=TensorProto.INT32), keepdims=0)
        found.again = n.add("Cast", left, to=TensorProto.BOOL)


def _advance(
    n: Nodes, decoder: Decoder, parts: DecoderParts, target: str, prediction: str, memory: str
) -> tuple[str, str]:
    """The hypotheses [B, J] and states [B, 2 L H] after the targets [B, 1]; the prediction network runs only where
    there is one."""
    none = n.ints(-1)
    run, keep = n.branch(), n.branch()
    states = run.add_many("Split", memory, outputs=2 * decoder.layers, axis=-1)
    token = run.add("Squeeze", run.add("Max", target, run.ints(0)), run.ints(1))
    new_prediction, hidden, cell = parts.predict(
        run, token, states[: decoder.layers], states[decoder.layers :]
    )
    mine = run.add("Greater", target, none)
    new_memory = run.add("Concat", *hidden, *cell, axis=-1)
    chosen = [
        run.add("Where", mine, new, old) for new, old in ((new_prediction, prediction), (new_memory, memory))
    ]
    some = n.add("Greater", n.add("ReduceMax", target, keepdims=0), n.constant(np.array(-1)))
    after = n.add_if(some, run, chosen, keep, [keep.add("Identity", value) for value in (prediction, memory)])
    return after[0], after[1]


def _zeros(g: GraphWriter, size: int, lengths: str) -> str:
    """Zeros [B, size]."""
    shape = g.add("Concat", g.add("Shape", lengths), g.ints(size), axis=0)
    return g.add("Expand", g.constant(np.zeros((1, 1), np.float32)), shape)
