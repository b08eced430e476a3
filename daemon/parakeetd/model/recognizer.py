"""Waveform to transcript with one model on one device. The same code runs in the daemon and in verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.errors import AudioError, BundleError, DecoderError
from parakeetd.model import ctc, tdt
from parakeetd.model.bundle import LOG_MEL_GRAPH, TOKENS, Architecture, Bundle, Precision, graph_file
from parakeetd.model.decoding import DecodeOptions, check_decoder, decoders_of
from parakeetd.model.features import LogMel
from parakeetd.model.sessions import Device, Session, open_session
from parakeetd.model.tokens import Vocabulary, transcript
from parakeetd.model.transcript import Token, Transcript

Floats = NDArray[np.float32]


class Recognizer:
    """One model on one device. `recognize` may be called from one thread at a time."""

    def __init__(
        self,
        architecture: Architecture,
        vocabulary: Vocabulary,
        *,
        log_mel: LogMel,
        encoder: Session,
        decoder_joint: Session,
        ctc_head: Session | None = None,
        device: Device,
    ) -> None:
        self.architecture = architecture
        self.device = device
        self._vocabulary = vocabulary
        self._log_mel = log_mel
        self._encoder = encoder
        self._decoder_joint = decoder_joint
        self._ctc_head = ctc_head

    @classmethod
    def open(
        cls, bundle: Bundle, *, device: Device = "cpu", threads: int = 0, precision: Precision | None = None
    ) -> Recognizer:
        """Check the bundle's files and open its graphs.

        Args:
            threads: threads inside one operator on the CPU; 0 for one per physical core.
            precision: of the encoder, prediction network and joint; the fastest on the device when not given.

        Raises:
            BundleError: a file is missing, damaged or does not fit the manifest.
            DeviceError: the device cannot be used.
        """
        architecture = bundle.manifest.architecture
        chosen = bundle.precision_for(device, precision)
        names = [graph_file(graph, chosen) for graph in ("encoder-model", "decoder_joint-model")]
        tokens, log_mel, encoder, decoder_joint = bundle.checked([TOKENS, LOG_MEL_GRAPH, *names])
        vocabulary = Vocabulary.read(tokens)
        if vocabulary.blank != architecture.vocabulary:
            raise BundleError(
                bundle.path,
                f"{TOKENS} has {vocabulary.blank} tokens, the manifest says {architecture.vocabulary}",
            )
        encoder_session = open_session(encoder, device, threads=threads)
        # A step is too small to share among threads: waking them costs more than the product.
        decoder_joint_session = open_session(decoder_joint, device, threads=1)
        _check_fit(bundle, encoder_session, decoder_joint_session)
        return cls(
            architecture,
            vocabulary,
            # The log-mel graph is a few milliseconds of CPU work; it stays off the GPU.
            log_mel=LogMel(open_session(log_mel, "cpu", threads=threads)),
            encoder=encoder_session,
            decoder_joint=decoder_joint_session,
            ctc_head=_open_ctc_head(bundle, device) if architecture.ctc else None,
            device=device,
        )

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
        """
        options = options if options is not None else [DecodeOptions()] * len(audio)
        for option in options:
            check_decoder(option.decoder, decoders_of(self.architecture), "in use")
        results = [Transcript()] * len(audio)
        spoken = [i for i, samples in enumerate(audio) if len(samples)]
        if not spoken:
            return results
        for i in spoken:
            if len(audio[i]) > self.max_samples:
                raise AudioError(
                    f"a piece of {len(audio[i]) / SAMPLE_RATE:.0f} s is longer than the "
                    f"{self.max_samples / SAMPLE_RATE:.0f} s that the model takes at once"
                )
        features, frames = self._log_mel([audio[i] for i in spoken])
        encoded, encoded_frames = self._encoder.run(
            {"audio_signal": features, "length": frames}, ["outputs", "encoded_lengths"]
        )
        for row, i in enumerate(spoken):
            results[i] = transcript(
                self._decode(encoded[row, :, : encoded_frames[row]], options[i]),
                self._vocabulary,
                frame_seconds=self.architecture.frame_seconds,
                audio_seconds=len(audio[i]) / SAMPLE_RATE,
            )
        return results

    def _decode(self, encoded: Floats, options: DecodeOptions) -> tuple[Token, ...]:
        """The hypothesis over encoder frames [D, T']."""
        if options.decoder == "ctc":
            if self._ctc_head is None:
                raise DecoderError("the model in use was opened without its CTC head")
            [log_probabilities] = self._ctc_head.run({"encoder_outputs": encoded[None]}, ["logprobs"])
            return ctc.greedy(log_probabilities[0], blank=self._vocabulary.blank)
        return tdt.greedy(
            encoded.shape[1],
            FusedSteps(self._decoder_joint, encoded, self.architecture),
            blank=self._vocabulary.blank,
            durations=self.architecture.durations,
            max_symbols=self.architecture.max_symbols,
        )

    @property
    def max_samples(self) -> int:
        """Longest piece in samples, given by the encoder's relative positions."""
        a = self.architecture
        return a.max_encoder_frames * a.subsampling * a.hop_samples


def _open_ctc_head(bundle: Bundle, device: Device) -> Session:
    # A single matrix: always float32.
    [path] = bundle.checked([graph_file("ctc-model", "fp32")])
    return open_session(path, device, threads=1)


def _check_fit(bundle: Bundle, encoder: Session, decoder_joint: Session) -> None:
    """Hold the manifest's numbers against the graphs.

    Raises:
        BundleError: one differs; the message names it.
    """
    a = bundle.manifest.architecture
    for session, tensor, axis, what, stated in (
        (encoder, "audio_signal", 1, "mels", a.mels),
        (decoder_joint, "encoder_outputs", 1, "d_model", a.d_model),
        (decoder_joint, "input_states_1", 0, "prediction_layers", a.prediction_layers),
        (decoder_joint, "input_states_1", 2, "prediction_hidden", a.prediction_hidden),
        (decoder_joint, "outputs", 3, "vocabulary, blank and durations", a.vocabulary + 1 + len(a.durations)),
    ):
        try:
            found = session.shape(tensor)[axis]
        except (KeyError, IndexError):
            raise BundleError(bundle.path, f"its graphs have no {tensor} with an axis {axis}") from None
        # An axis that the exporter left open says nothing.
        if isinstance(found, int) and found != stated:
            raise BundleError(bundle.path, f"its graphs have {found} {what}, the manifest says {stated}")


@dataclass(slots=True)
class FusedState:
    """A hypothesis before its last token went through the prediction network, and after, once that is known."""

    last_token: int
    before: tuple[Floats, Floats]
    after: tuple[Floats, Floats] | None = None


class FusedSteps:
    """The steps of `tdt.greedy` by NeMo's `decoder_joint` graph, which runs both networks at each call."""

    def __init__(self, decoder_joint: Session, encoded: Floats, architecture: Architecture) -> None:
        """
        Args:
            encoded: encoder output of one piece, [D, T'].
        """
        self._run = decoder_joint.run
        # Contiguous frames: the graph takes [1, D, 1], and a strided column would be copied at each step.
        self._frames = np.ascontiguousarray(encoded.T)[:, None, :, None]
        self._architecture = architecture
        self._one = np.ones(1, np.int32)

    def start(self) -> FusedState:
        shape = (self._architecture.prediction_layers, 1, self._architecture.prediction_hidden)
        # Blank stands for the start of the sentence.
        zeros = np.zeros(shape, np.float32)
        return FusedState(self._architecture.vocabulary, (zeros, zeros))

    def joint(self, frame: int, state: FusedState) -> Floats:
        outputs, hidden, cell = self._run(
            {
                "encoder_outputs": self._frames[frame],
                "targets": np.array([[state.last_token]], np.int32),
                "target_length": self._one,
                "input_states_1": state.before[0],
                "input_states_2": state.before[1],
            },
            ["outputs", "output_states_1", "output_states_2"],
        )
        state.after = (hidden, cell)
        logits: Floats = outputs.reshape(-1)
        return logits

    def predict(self, token: int, state: FusedState) -> FusedState:
        if state.after is None:
            raise RuntimeError("predict() before joint(): the state of the last token is not known")
        return FusedState(token, state.after)
