"""Encoder output of a batch to hypotheses, each row by the decoder that its caller chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parakeetd.errors import DecoderError
from parakeetd.model import ctc
from parakeetd.model.biasing import Bias
from parakeetd.model.decoding import DecodeOptions, Decoder
from parakeetd.model.forms import Choice, Form
from parakeetd.model.sessions import Session
from parakeetd.model.transcript import Token
from parakeetd.model.transducers import Biases, Encoded, Transducer


class Decoders:
    """The decoders of one model on one device."""

    def __init__(
        self,
        transducers: Mapping[Form, Transducer],
        choice: Choice,
        *,
        blank: int,
        ctc_head: Session | None = None,
    ) -> None:
        """
        Args:
            transducers: every form that `choice` may ask for.
        """
        self.choice = choice
        self._transducers = transducers
        self._blank = blank
        self._ctc_head = ctc_head

    def __call__(
        self, encoded: Encoded, options: Sequence[DecodeOptions], biases: Biases = ()
    ) -> list[tuple[Token, ...]]:
        """The hypothesis of each row.

        Args:
            biases: what the options' phrases and languages mean for this model.

        Raises:
            DecoderError: a row wants the CTC head and there is none.
        """
        hypotheses: list[tuple[Token, ...]] = [()] * len(options)
        wanted: dict[Decoder, list[int]] = {}
        for row, option in enumerate(options):
            wanted.setdefault(option.decoder, []).append(row)
        for decoder, rows in wanted.items():
            some = encoded if len(rows) == len(options) else encoded.rows(rows)
            biased = [biases[row] for row in rows] if biases else [None] * len(rows)
            decoded = self._ctc(some, biased) if decoder == "ctc" else self._tdt(some, biased)
            for row, tokens in zip(rows, decoded, strict=True):
                hypotheses[row] = tokens
        return hypotheses

    def _tdt(self, encoded: Encoded, biases: Sequence[Bias | None]) -> list[tuple[Token, ...]]:
        decoding = self.choice.for_batch(len(encoded.lengths))
        return self._transducers[decoding.form](encoded, look_ahead=decoding.look_ahead, biases=biases)

    def _ctc(self, encoded: Encoded, biases: Sequence[Bias | None]) -> list[tuple[Token, ...]]:
        if self._ctc_head is None:
            raise DecoderError("the model in use was opened without its CTC head")
        [output] = self._ctc_head.run_on_device({"encoder_outputs": encoded.outputs}, ["logprobs"])
        return [
            ctc.greedy(row[:length], blank=self._blank, bias=bias)
            for row, length, bias in zip(output.numpy(), encoded.lengths.tolist(), biases, strict=True)
        ]
