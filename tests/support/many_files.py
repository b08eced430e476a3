"""Folders full of recordings whose texts are known, and what became of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from clips import shipped_clips

RATE = 16_000
PAUSE_SECONDS = 1.0


@dataclass
class Many:
    """A folder, and NeMo's text of each recording in it, by its path there without the suffix."""

    folder: Path
    texts: dict[str, str] = field(default_factory=dict)


def many_files(folder: Path, count: int) -> Many:
    """Shipped clips under many names, in folders of twenty; each fifth is two of them after one another, as a WAV file,
    each hundredth all of them three times."""
    mono = [clip for clip in shipped_clips() if clip.rate == RATE and clip.channels == 1]
    samples = [soundfile.read(clip.path, dtype="int16")[0] for clip in mono]
    pause = np.zeros(round(PAUSE_SECONDS * RATE), np.int16)
    many = Many(folder)
    for number in range(count):
        name = f"{number // 20:02}/talk-{number:04}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        at = number % len(mono)
        chosen = [at]
        if number % 100 == 50:
            chosen = [*range(len(mono))] * 3
        elif number % 5 == 4:
            chosen = [at, (at + 1) % len(mono)]
        many.texts[name] = " ".join(mono[i].nemo_text for i in chosen)
        if len(chosen) == 1:
            shutil.copy(mono[at].path, folder / f"{name}.flac")
        else:
            parts = [part for i in chosen for part in (samples[i], pause)]
            soundfile.write(folder / f"{name}.wav", np.concatenate(parts), RATE, subtype="PCM_16")
    return many


def judged(many: Many, output: Path) -> list[str]:
    """What is wrong with the results, which are JSON: lost, too many, doubled within, other text."""
    found = {
        path.relative_to(output).with_suffix("").as_posix(): path
        for path in output.rglob("*")
        if path.is_file()
    }
    problems = [f"{name}: no result" for name in many.texts.keys() - found.keys()]
    problems += [f"{found[name]}: nobody asked for it" for name in found.keys() - many.texts.keys()]
    for name in many.texts.keys() & found.keys():
        lines = found[name].read_text(encoding="utf-8").splitlines()
        if len(lines) != 1:
            problems.append(f"{name}: {len(lines)} lines")
            continue
        told = json.loads(lines[0])
        if told["text"] != many.texts[name]:
            problems.append(f"{name}: {told['text']!r}, not {many.texts[name]!r}")
        if Path(told["file"]).with_suffix("") != many.folder / name:
            problems.append(f"{name}: is of {told['file']}")
    return sorted(problems)
