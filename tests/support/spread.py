"""Make a model with random weights speak as often as a trained one: about 4.5 tokens a second of speech.

A random transducer says nothing at all or a token at every frame, so that its decoding costs nothing or far too much.
Two changes to the joint repair that. Its projection of the encoder is centred and scaled on real speech, so that the
frames differ from one another; then the blank's bias is searched for, by bisection, with NeMo's own decoding.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measuring import ROOT

TOKENS_PER_SECOND = 4.5
"""English read aloud, in the tokens of the published models."""
SPREAD = 1.0
"""Root mean square of the projected frames around their mean."""
RATE = 16_000

Floats = NDArray[np.float32]

CLIPS = ROOT / "daemon/parakeetd/embedded/clips"


def bisect(
    measured: Callable[[float], float],
    goal: float,
    *,
    start: float,
    step: float,
    tolerance: float,
    tries: int = 24,
) -> float:
    """An x where the falling function `measured` is within `tolerance` of `goal`.

    Walks from `start` in growing steps until the goal lies between two values, then halves the distance. Noise around
    the goal does no harm: what is returned is the best x that was tried.

    Raises:
        ValueError: the goal was not passed in as many tries; the message says how far it came.
    """
    seen: dict[float, float] = {}

    def above(x: float) -> bool:
        seen[x] = measured(x)
        return seen[x] > goal

    def best() -> float:
        return min(seen, key=lambda x: abs(seen[x] - goal))

    x, upwards = start, above(start)
    direction = 1 if upwards else -1
    while above(x + direction * step) == upwards:
        x, step = x + direction * step, 2 * step
        if len(seen) >= tries:
            raise ValueError(f"{goal} was not reached: {seen[best()]} at {best()} is the nearest")
    low, high = sorted((x, x + direction * step))
    while len(seen) < tries and abs(seen[best()] - goal) > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return best()


def cut(speech: Sequence[Floats], seconds: float, count: int) -> list[Floats]:
    """`count` pieces [n] of exactly this length from recordings end to end, spread evenly over them, around again
    where they end."""
    whole = np.concatenate(speech)
    size = round(seconds * RATE)
    starts = [round(number * len(whole) / count) for number in range(count)]
    return [np.take(whole, range(start, start + size), mode="wrap") for start in starts]


def recordings(folder: Path | None) -> list[Floats]:
    """Recordings of a folder, at most three minutes of them, or the shipped clips; float32 mono at 16 kHz."""
    from parakeetd.audio.sources.file import read_audio

    if folder is None:
        rows = (CLIPS / "clips.jsonl").read_text(encoding="utf-8").splitlines()
        files = [CLIPS / json.loads(row)["file"] for row in rows]
    else:
        files = sorted(file for file in folder.rglob("*") if file.suffix in (".flac", ".wav"))
    found: list[Floats] = []
    for file in files:
        if sum(map(len, found)) < 180 * RATE:
            found.append(read_audio(file))
    if not found:
        raise SystemExit(f"{folder} holds no .flac or .wav files")
    return found


def make_speaking(source: Path, target: Path, speech: Sequence[Floats]) -> dict[str, float]:
    """Write `source` with another joint to `target`; what was set, and the tokens a second that came out."""
    import torch

    from parakeetd_convert.nemo import load_nemo
    from parakeetd_convert.toolchain import load_toolchain, quiet

    load_toolchain()
    with quiet(), torch.inference_mode(False), torch.no_grad():
        model = load_nemo(source).model
        pieces = cut(speech, 10.0, 4)
        encoded = [_encoded(model, piece) for piece in pieces]
        scale = _spread_frames(model.joint.enc, torch.cat([item[0].T for item, _ in encoded]))
        bias = model.joint.joint_net[-1].bias

        def tokens_per_second(blank: float) -> float:
            bias[len(model.joint.vocabulary)] = blank
            said = [
                model.decoding.rnnt_decoder_predictions_tensor(item, lengths, return_hypotheses=True)[0]
                for item, lengths in encoded
            ]
            return sum(len(_best(each).y_sequence) for each in said) / (10.0 * len(pieces))

        blank = bisect(tokens_per_second, TOKENS_PER_SECOND, start=8.0, step=1.0, tolerance=0.1)
        reached = tokens_per_second(blank)
        _with_weights(source, target, model.state_dict())
    return {"projection_scale": scale, "blank_bias": blank, "tokens_per_second": reached}


def _with_weights(source: Path, target: Path, weights: Any) -> None:
    """A `.nemo` file like `source` with other weights."""
    import torch

    content = io.BytesIO()
    torch.save(weights, content)
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            if Path(member.name).name == "model_weights.ckpt":
                member.size = content.tell()
                content.seek(0)
                new.addfile(member, content)
            else:
                new.addfile(member, old.extractfile(member))


def _best(hypotheses: Any) -> Any:
    return hypotheses[0] if isinstance(hypotheses, list) else hypotheses


def _encoded(model: Any, samples: Floats) -> tuple[Any, Any]:
    """Encoder output [1, D, T'] and its length [1]."""
    import torch

    model.preprocessor.featurizer.dither, model.preprocessor.featurizer.pad_to = 0.0, 0
    signal = torch.from_numpy(samples)[None]
    encoded, lengths = model(input_signal=signal, input_signal_length=torch.tensor([len(samples)]))
    return encoded, lengths


def _spread_frames(projection: Any, frames: Any) -> float:
    """Centre and scale a projection so that these frames [N, D] differ by SPREAD; what its weights grew by."""
    projected = frames @ projection.weight.T
    scale = SPREAD / float((projected - projected.mean(dim=0)).pow(2).mean().sqrt())
    projection.weight *= scale
    projection.bias.copy_(-scale * projected.mean(dim=0))
    return scale
