"""Waveform to transcript with one model on one device. The same code runs in the daemon and in verification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError
from parakeetd.model import buckets
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import Architecture, Bundle, Precision
from parakeetd.model.decoders import Decoders
from parakeetd.model.decoding import DecodeOptions, check_decoder, decoders_of
from parakeetd.model.features import Features, LogMel
from parakeetd.model.forms import Decoding
from parakeetd.model.lanes import Lanes
from parakeetd.model.opening import open_parts
from parakeetd.model.sessions import Device, Session
from parakeetd.model.tokens import Vocabulary, transcript
from parakeetd.model.transcript import Transcript
from parakeetd.model.transducers import Encoded


class Recognizer:
    """One model on one device. `recognize` may be called from one thread at a time."""

    def __init__(
        self,
        architecture: Architecture,
        vocabulary: Vocabulary,
        *,
        log_mel: LogMel,
        encoder: Session,
        decoders: Decoders,
        device: Device,
        biasing: Biasing | None = None,
        lanes: int = 1,
    ) -> None:
        """
        Args:
            biasing: what makes phrases and languages count; without it they do not.
            lanes: groups of a batch's pieces whose features and encoder are computed side by side.
        """
        self.architecture = architecture
        self.device = device
        self.decoders = decoders
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._encoder = encoder
        self._biasing = biasing
        self._lanes = Lanes(lanes)

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        device: Device = "cpu",
        threads: int = 0,
        precision: Precision | None = None,
        decoding: Decoding | None = None,
        biasing: Biasing | None = None,
    ) -> Recognizer:
        """Check the bundle's files and open its graphs. A GPU is warmed up too, which takes seconds.

        Args:
            threads: threads inside one operator on the CPU; 0: as many as suit the model. One that does not suit more
                than one computes larger batches in groups, side by side.
            precision: of the encoder, prediction network and joint; the fastest on the device when not given.
            decoding: how every batch is decoded; what the bundle recommends when not given.
            biasing: of this bundle, where several share one.

        Raises:
            BundleError: a file is missing, damaged or does not fit the manifest.
            DeviceError: the device cannot be used.
        """
        parts = open_parts(bundle, device=device, threads=threads, precision=precision, decoding=decoding)
        recognizer = cls(
            bundle.manifest.architecture,
            parts.vocabulary,
            log_mel=parts.log_mel,
            encoder=parts.encoder,
            decoders=parts.decoders,
            device=device,
            biasing=biasing or Biasing.of(bundle),
            lanes=parts.lanes,
        )
        if device == "cuda":
            recognizer.warm_up(buckets.usual_buckets())
        return recognizer

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] | None = None
    ) -> list[Transcript]:
        """Transcripts of a batch of pieces, in their order.

        Args:
            audio: float32 mono samples at 16 kHz, one array [n] per piece. An empty piece gives an empty transcript.
            options: how to decode each piece; with the defaults when not given.

        Raises:
            AudioError: a piece is longer than the model's positions reach.
            DecoderError: the model does not have a decoder that is asked for.
            PhraseError: a phrase cannot be spelled with the model's tokens.
        """
        options = options if options is not None else [DecodeOptions()] * len(audio)
        for option in options:
            check_decoder(option.decoder, decoders_of(self.architecture), "in use")
        biases = [self._biasing(option) if self._biasing else None for option in options]
        transcripts = [Transcript()] * len(audio)
        spoken = [i for i, samples in enumerate(audio) if len(samples)]
        pieces = [audio[i] for i in spoken]
        groups = self._lanes.map(self._heard, pieces, [len(samples) for samples in pieces])
        if not groups:
            return transcripts
        order = [spoken[i] for group, _ in groups for i in group]
        # One search for all groups: steps from Python in two threads would wait for the interpreter after each.
        hypotheses = self.decoders(
            Encoded.joined([encoded for _, encoded in groups]),
            [options[i] for i in order],
            [biases[i] for i in order],
        )
        for i, tokens in zip(order, hypotheses, strict=True):
            transcripts[i] = transcript(
                tokens,
                self._vocabulary,
                frame_seconds=self.architecture.frame_seconds,
                audio_seconds=len(audio[i]) / SAMPLE_RATE,
            )
        return transcripts

    def _heard(self, audio: Sequence[Samples]) -> Encoded:
        return self.encode(self.features(audio))

    def features(self, audio: Sequence[Samples]) -> Features:
        """The first stage: log-mel features of pieces, none of them empty.

        Raises:
            AudioError: a piece is longer than the model's positions reach.
        """
        for samples in audio:
            if len(samples) > self.max_samples:
                raise AudioError(
                    f"a piece of {len(samples) / SAMPLE_RATE:.0f} s is longer than the "
                    f"{self.max_samples / SAMPLE_RATE:.0f} s that the model takes at once"
                )
        return self._log_mel(audio)

    def encode(self, features: Features) -> Encoded:
        """The second stage: the encoder."""
        [batch, _, frames] = features.values.shape()
        outputs, lengths = self._encoder.run_on_device(
            {"audio_signal": features.values, "length": features.lengths},
            ["outputs", "encoded_lengths"],
            shrink=buckets.is_unusual(batch * frames * self.architecture.hop_samples, self._encoder.device),
        )
        return Encoded(outputs, lengths.numpy())

    def warm_up(self, lengths: Sequence[int]) -> None:
        """Recognise silence of each of these lengths in samples, so that no speech meets a shape for the first time."""
        for samples in lengths:
            self.recognize([np.zeros(min(samples, self.max_samples), np.float32)])

    @property
    def max_samples(self) -> int:
        """Longest piece in samples, given by the encoder's relative positions."""
        return self.architecture.max_samples
