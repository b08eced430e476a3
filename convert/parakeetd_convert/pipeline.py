"""The order of steps that makes a bundle out of a `.nemo` file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parakeetd.model.bundle import (
    LOG_MEL_GRAPH,
    PRECISIONS,
    Architecture,
    Bundle,
    FileEntry,
    Manifest,
    Precision,
    Source,
    graph_file,
    sha256,
    write_manifest,
)
from parakeetd_convert import forms, sherpa, verify
from parakeetd_convert.clips import folder_clips, recordings_in, verification_batches
from parakeetd_convert.ctc import write_ctc
from parakeetd_convert.decoder import decoder_obstacle, read_decoder
from parakeetd_convert.encoder import export_encoder
from parakeetd_convert.errors import BundleExists
from parakeetd_convert.frontend import read_front_end, write_front_end
from parakeetd_convert.nemo import inspect, load_nemo, read_architecture
from parakeetd_convert.precisions import (
    read_encoder,
    supported,
    write_decoder_as,
    write_decoder_joint_as,
    write_encoder_as,
)
from parakeetd_convert.publish import publish, staging
from parakeetd_convert.recordings import check_recordings, listen_to
from parakeetd_convert.reference import listen
from parakeetd_convert.steps import Step
from parakeetd_convert.tokens import write_tokens
from parakeetd_convert.toolchain import load_toolchain, versions
from parakeetd_convert.transducer import write_decoder_joint
from parakeetd_convert.verify_precision import check_precision


@dataclass(frozen=True)
class Job:
    """What to convert and where to put it."""

    file: Path
    name: str
    models: Path
    """Folder of bundles."""
    languages: tuple[str, ...]
    """BCP-47 tags."""
    licence: str = ""
    precisions: tuple[Precision, ...] = PRECISIONS
    """What to make, float32 first: it is always made."""
    sherpa: bool = False
    """Write the transducer for sherpa-onnx too."""
    verify_audio: Path | None = None
    """Folder of recordings to verify on besides what ships in the package."""
    force: bool = False
    """Replace a bundle of this name."""
    debug: bool = False
    """Let NeMo and torch say what they have to say."""


def convert(job: Job, step: Step) -> Path:
    """Convert, verify and publish; the path of the bundle.

    Raises:
        ParakeetError: nothing was published, and a bundle of this name that was there is untouched.
    """
    if (job.models / job.name).exists() and not job.force:
        # Said before minutes of work; publishing checks again.
        raise BundleExists(job.models / job.name)
    inspect(job.file)
    if job.verify_audio is not None:
        recordings_in(job.verify_audio)
    with step("Loading torch and NeMo"):
        load_toolchain(chatty=job.debug)
    with staging(job.models, job.name) as folder:
        with step(f"Restoring {job.file.name}"):
            loaded = load_nemo(job.file, folder)  # a run that dies leaves nothing elsewhere
        architecture = read_architecture(loaded.model)
        source = Source(job.file.name, loaded.sha256, loaded.nemo_class, job.licence)
        # Before the export: it replaces modules of the model for good.
        with step("Running NeMo on the verification audio"):
            reference = listen(loaded.model, verification_batches(architecture.sample_rate))
        heard = []
        if job.verify_audio is not None:
            clips = folder_clips(job.verify_audio, architecture.sample_rate)
            with step(f"Running NeMo on {len(clips)} recordings"):
                heard = listen_to(loaded.model, clips)
        write_graphs(loaded.model, architecture, job.precisions, folder, step)
        if job.sherpa:
            with step("Writing sherpa-onnx's files"):
                sherpa.write_sherpa(loaded.model, architecture, folder, job.file.name)
        del loaded  # its weights: verification holds those of the graphs
        manifest = describe(job, source, architecture, folder)
        write_manifest(folder, manifest)
        with step("Verifying the graphs against NeMo"):
            measured = verify.check(Bundle.read(folder), reference)
        for precision in job.precisions[1:]:
            with step(f"Verifying {precision}"):
                measured[precision] = check_precision(Bundle.read(folder), precision, reference)
        if job.sherpa:
            measured |= sherpa.check(folder, architecture, reference.traces)
        if job.verify_audio is not None:
            measured["recordings"] = {"folder": job.verify_audio.resolve().name}
            for precision in job.precisions:
                with step(f"Verifying {precision} on {len(heard)} recordings"):
                    measured["recordings"][precision] = check_recordings(
                        Bundle.read(folder), precision, heard
                    )
        decoding = forms.measure(Bundle.read(folder), step)
        write_manifest(folder, dataclasses.replace(manifest, verification=measured, decoding=decoding))
        with step("Publishing"):
            publish(folder, job.models / job.name, force=job.force)
    return job.models / job.name


def write_graphs(
    model: Any, architecture: Architecture, precisions: tuple[Precision, ...], folder: Path, step: Step
) -> None:
    """Write every file of a bundle but the manifest."""
    with step("Writing the log-mel graph and the tokens"):
        write_front_end(folder / LOG_MEL_GRAPH, read_front_end(model.preprocessor))
        write_tokens(model, folder)
        (folder / "config.json").write_text(
            json.dumps(engine_config(architecture), indent=1) + "\n", encoding="utf-8"
        )
    encoder = read_encoder(model) if supported(model) or len(precisions) > 1 else None
    if encoder is not None:
        for precision in precisions:
            with step(f"Writing the {precision} encoder ({architecture.layers} layers)"):
                write_encoder_as(encoder, precision, folder)
        del encoder
    if obstacle := decoder_obstacle(model):
        with step(f"Leaving decoding to NeMo's own graph: the model has {obstacle}"):
            pass
    else:
        with step("Writing the decoder's graphs"):
            decoder = read_decoder(model, architecture)
            for precision in precisions:
                write_decoder_as(decoder, precision, folder)
    # The small graphs before an export of the encoder: that changes the model the most.
    with step("Exporting the prediction network and joint"):
        write_decoder_joint(model, folder / graph_file("decoder_joint-model", "fp32"), folder / "scratch")
        for precision in precisions[1:]:
            write_decoder_joint_as(precision, folder)
    if architecture.ctc:
        with step("Exporting the CTC head"):
            write_ctc(model, folder / graph_file("ctc-model", "fp32"))
    path = folder / graph_file("encoder-model", "fp32")
    if not path.exists():
        with step(f"Exporting the encoder as NeMo does ({architecture.layers} layers)"):
            export_encoder(model, path, folder / "scratch")


def engine_config(architecture: Architecture) -> dict[str, str | int]:
    """`config.json`, in onnx-asr's terms."""
    return {
        "model_type": "nemo-conformer-tdt",
        "features_size": architecture.mels,
        "subsampling_factor": architecture.subsampling,
        "max_tokens_per_step": architecture.max_symbols,
    }


def describe(job: Job, source: Source, architecture: Architecture, folder: Path) -> Manifest:
    """The manifest of the files in `folder`, before verification."""
    files = {
        file.relative_to(folder).as_posix(): FileEntry(sha256(file), file.stat().st_size)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return Manifest(
        name=job.name,
        source=source,
        architecture=architecture,
        languages=job.languages,
        precisions=job.precisions,
        files=files,
        tools=versions(),
    )
