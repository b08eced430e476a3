"""A `.nemo` file is a stranger's archive: what must not be unpacked, loaded or built is refused by name."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from parakeetd_convert.errors import NemoFileError, UnsupportedModel
from parakeetd_convert.nemo import Loaded, inspect, load_nemo, read_architecture, unpack

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"

TARGET = "nemo.collections.asr.models.hybrid_rnnt_ctc_bpe_models.EncDecHybridRNNTCTCBPEModel"


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def archive(
    folder: Path, *members: tuple[tarfile.TarInfo, bytes], config: str = f"target: {TARGET}\n"
) -> Path:
    """A `.nemo` file with a configuration, empty weights and these members."""
    file = folder / "odd.nemo"
    with tarfile.open(file, "w") as tar:
        for info, content in (
            member("model_config.yaml", config.encode()),
            member("model_weights.ckpt"),
            *members,
        ):
            tar.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (member("../evil", b"x"), "leads outside"),
        (member("a/../../evil", b"x"), "leads outside"),
        (member("/tmp/evil", b"x"), "leads outside"),
        (member("link", kind=tarfile.SYMTYPE, link="/etc/passwd"), "is a link to '/etc/passwd'"),
        (member("link", kind=tarfile.SYMTYPE, link="model_config.yaml"), "is a link"),
        (member("hard", kind=tarfile.LNKTYPE, link="model_config.yaml"), "is a link"),
        (member("device", kind=tarfile.CHRTYPE), "neither a file nor a folder"),
        (member("pipe", kind=tarfile.FIFOTYPE), "neither a file nor a folder"),
    ],
    ids=["parent", "parent inside", "absolute", "symlink out", "symlink in", "hard link", "device", "pipe"],
)
def test_an_unsafe_member_is_named_and_nothing_is_unpacked(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], problem: str
) -> None:
    file = archive(tmp_path, bad)
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(NemoFileError, match=problem) as caught:
        unpack(file, target)
    assert repr(bad[0].name) in str(caught.value)
    assert str(file) in str(caught.value)
    assert not list(target.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "odd.nemo"]


def test_an_archive_that_unpacks_to_more_than_any_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.nemo"
    info = tarfile.TarInfo("model_weights.ckpt")
    info.size = 1 << 40
    file.write_bytes(info.tobuf() + b"\0" * 1024)
    with pytest.raises(NemoFileError, match="unpacks to more than 32 GiB"):
        inspect(file)


def test_a_small_compressed_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.nemo"
    with tarfile.open(file, "w:gz") as tar:
        for info, content in (
            member("model_config.yaml", b"a: 1\n"),
            member("model_weights.ckpt", b"\0" * 1_000_000),
        ):
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(NemoFileError, match="unpacks to more than 20 times its size"):
        inspect(file)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.nemo"
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header, _ = member("long", kind=kind)
        header.size = 20 << 20
        with gzip.open(file, "wb", compresslevel=1) as opened:
            opened.write(header.tobuf() + b"\0" * header.size)
        with pytest.raises(NemoFileError, match="a header of more than 16 MiB"):
            inspect(file)


def test_an_archive_of_very_many_members_is_refused(tmp_path: Path) -> None:
    file = archive(tmp_path, *(member(f"m{index}") for index in range(1_001)))
    with pytest.raises(NemoFileError, match="more than 1000 members"):
        inspect(file)


def test_what_is_not_an_archive_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "speech.nemo"
    for content in (b"", b"RIFF\0\0\0\0WAVEfmt ", b"hello\n" * 1000):
        file.write_bytes(content)
        with pytest.raises(NemoFileError, match=r"speech\.nemo: is not a \.nemo file"):
            inspect(file)


def test_another_tar_archive_is_said_to_miss_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "other.nemo"
    with tarfile.open(file, "w") as tar:
        info, content = member("readme", b"hi")
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(NemoFileError, match=r"it has no model_config\.yaml"):
        inspect(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(NemoFileError, match="there is no such file"):
        inspect(tmp_path / "none.nemo")
    with pytest.raises(NemoFileError, match="directory"):
        inspect(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_file_is_said_to_be_damaged(tmp_path: Path, compressed: bool) -> None:
    content = DEMO.read_bytes()
    if compressed:
        content = gzip.compress(content, 1)
    file = tmp_path / "half.nemo"
    file.write_bytes(content[: len(content) // 2])
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(NemoFileError, match="damaged"):
        unpack(file, target)


def test_a_compressed_file_of_an_older_nemo_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "old.nemo"
    with tarfile.open(file, "w:gz") as tar:
        for info, content in (member("./model_config.yaml", b"a: 1\n"), member("./model_weights.ckpt", b"w")):
            tar.addfile(info, io.BytesIO(content))
    target = tmp_path / "target"
    target.mkdir()
    unpack(file, target)
    assert (target / "model_weights.ckpt").read_bytes() == b"w"


@pytest.mark.usefixtures("torch")
class TestLoad:
    @pytest.mark.parametrize(
        ("config", "named"),
        [
            ("target: nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE\n", "EncDecCTCModelBPE"),
            ("target: os.system\n", "system"),
            ("a: 1\n", "a model without a class name"),
            ("- a\n", "a model without a class name"),
        ],
    )
    def test_another_class_is_refused_by_its_name(self, tmp_path: Path, config: str, named: str) -> None:
        with pytest.raises(UnsupportedModel, match=f"odd.nemo: {named} cannot be converted"):
            load_nemo(archive(tmp_path, config=config))

    @pytest.mark.parametrize("config", ["a: [1\n", "\0", "target: ${nowhere}\n"])
    def test_a_broken_configuration_is_named(self, tmp_path: Path, config: str) -> None:
        with pytest.raises(NemoFileError, match=r"odd\.nemo: model_config\.yaml cannot be read"):
            load_nemo(archive(tmp_path, config=config))

    def test_an_artifact_outside_the_archive_is_refused(self, tmp_path: Path) -> None:
        config = f"target: {TARGET}\ntokenizer:\n  model_path: nemo:../../etc/passwd\n"
        with pytest.raises(NemoFileError, match=r"tokenizer\.model_path='nemo:\.\./\.\./etc/passwd'"):
            load_nemo(archive(tmp_path, config=config))

    def test_a_configuration_that_nemo_cannot_build_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(NemoFileError, match=r"odd\.nemo: NeMo cannot restore it"):
            load_nemo(archive(tmp_path))

    def test_a_pickle_payload_is_refused_and_does_not_run(
        self, torch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The variable that turns torch's safe loading off must not reach us.
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        trace = tmp_path / "executed"
        for protocol in ("zip", "legacy"):
            weights = io.BytesIO()
            torch.save({"a": Payload(trace)}, weights, _use_new_zipfile_serialization=protocol == "zip")
            with pytest.raises(NemoFileError, match=r"model_weights\.ckpt holds more than tensors"):
                load_nemo(with_weights(tmp_path, weights.getvalue()))
            assert not trace.exists()

    def test_a_transducer_without_durations_is_refused(self, build_nemo: Callable[..., Path]) -> None:
        with pytest.raises(UnsupportedModel, match="EncDecRNNTBPEModel without TDT durations"):
            load_nemo(build_nemo(durations=()))

    def test_the_facts_of_the_hybrid_are_read_from_it(self, demo: Loaded) -> None:
        facts = read_architecture(demo.model)
        assert demo.nemo_class == "EncDecHybridRNNTCTCBPEModel"
        assert (facts.layers, facts.d_model, facts.mels, facts.vocabulary) == (6, 160, 80, 192)
        assert (facts.prediction_layers, facts.prediction_hidden) == (1, 160)
        assert (facts.durations, facts.max_symbols, facts.subsampling) == ((0, 1, 2, 3, 4), 10, 8)
        assert (facts.sample_rate, facts.hop_samples, facts.max_encoder_frames) == (16_000, 160, 5_000)
        assert facts.ctc

    def test_the_facts_of_a_plain_transducer_are_read_from_it(self, build_nemo: Callable[..., Path]) -> None:
        loaded = load_nemo(build_nemo(durations=(0, 1, 2, 4), mels=64))
        facts = read_architecture(loaded.model)
        assert loaded.nemo_class == "EncDecRNNTBPEModel"
        assert (facts.layers, facts.d_model, facts.mels, facts.vocabulary) == (3, 48, 64, 60)
        assert (facts.prediction_layers, facts.prediction_hidden, facts.durations) == (2, 40, (0, 1, 2, 4))
        assert not facts.ctc


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._trace}",)


def with_weights(folder: Path, weights: bytes) -> Path:
    """The fixture model with other weights."""
    file = folder / "payload.nemo"
    with tarfile.open(DEMO) as source, tarfile.open(file, "w") as target:
        for info in source:
            content = source.extractfile(info)
            data = content.read() if content else b""
            if info.name.endswith("model_weights.ckpt"):
                data, info.size = weights, len(weights)
            target.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return file
