"""Let a coverage-guided fuzzer look for input that breaks a parser: `fuzz_guided.py TARGET SECONDS FOLDER [SEED]`.

Runs in the environment that has Atheris (`make .venv-fuzz/.ready`); `fuzz.py --guided` starts it for each target. The
folder takes the inputs that lead somewhere new, and the one that broke something.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # in its own environment only

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

# What is imported here is watched; compiled parts and other libraries are not.
with atheris.instrument_imports(include=["parakeetd"]):
    from fuzz_targets import target

HANG_SECONDS, MOST_MB, LONGEST_BYTES = 60, 2048, 1 << 16


def main() -> None:
    name, seconds, folder, *seed = sys.argv[1:]
    subject = target(name)
    # Warnings of damaged input are what is expected.
    logging.disable(logging.WARNING)
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(subject.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    flags = [
        f"-max_total_time={seconds}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MOST_MB}",
        f"-max_len={LONGEST_BYTES}",
        f"-seed={seed[0] if seed else 1}",
        f"-artifact_prefix={corpus}/",
        "-print_final_stats=1",
    ]

    def run(data: bytes) -> None:
        subject.holds(data)

    atheris.Setup([sys.argv[0], *flags, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
