"""The decoder graphs of our own: steps and loop, against NeMo and against the daemon's own search."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from parakeetd.model import tdt
from parakeetd.model.bundle import Bundle, FileEntry, Precision, graph_file, sha256, write_manifest
from parakeetd.model.external import external_locations
from parakeetd.model.sessions import Session, open_session
from parakeetd_convert import precisions, verify_precision
from parakeetd_convert.checked import CheckedGraph
from parakeetd_convert.decoder import decoder_obstacle, read_decoder
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.graphs import all_tensors
from parakeetd_convert.nemo import load_nemo, read_architecture
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.precisions import DECODER_GRAPHS, decoder_weights, write_decoder_as
from parakeetd_convert.reference import Reference
from parakeetd_convert.verify import check
from parakeetd_convert.verify_decoder import check_greedy
from parakeetd_convert.writer import GraphWriter, LoopState, WeightsFile

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "fp16")

Floats = NDArray[np.float32]

MAX_SYMBOLS = 3
"""Below what a random model would emit at a frame, so that the limit counts."""


@pytest.fixture(scope="module", params=[(0, 1, 2, 3, 4), (0, 1, 2, 4, 8)], ids=["to 4", "with gaps"])
def random_decoder(
    plain_nemo: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Any, Path]:
    """A random decoder's architecture, with what its durations mean, and its float32 graphs. Its blank is raised until
    most frames are blank."""
    model = load_nemo(plain_nemo).model
    architecture = dataclasses.replace(
        read_architecture(model), max_symbols=MAX_SYMBOLS, durations=request.param
    )
    decoder = read_decoder(model, architecture)
    bias = decoder.joint[f"{decoder.output}.bias"].copy()
    bias[architecture.vocabulary] += 10
    joint = {**decoder.joint, f"{decoder.output}.bias": bias}
    folder = tmp_path_factory.mktemp("decoder")
    write_decoder_as(dataclasses.replace(decoder, joint=joint), "fp32", folder)
    return architecture, folder


class Steps:
    """The steps of `tdt.greedy` by the graphs of the steps."""

    def __init__(self, folder: Path, architecture: Any, encoded: Floats) -> None:
        projection, self._prediction, self._joint = (
            open_session(folder / graph_file(name, "fp32"), "cpu", threads=1)
            for name in ("projection-model", "prediction-model", "joint-model")
        )
        [self._frames] = projection.run({"encoder_outputs": encoded[None]})
        self._a = architecture

    def start(self) -> list[Floats]:
        zeros = np.zeros((self._a.prediction_layers, 1, self._a.prediction_hidden), np.float32)
        return self.predict(self._a.vocabulary, [zeros, zeros, zeros])

    def joint(self, frame: int, state: list[Floats]) -> Floats:
        [logits] = self._joint.run(
            {"frames": self._frames[:, frame : frame + 1], "prediction": state[0]}, ["logits"]
        )
        return logits[0, 0]

    def predict(self, token: int, state: list[Floats]) -> list[Floats]:
        inputs = {"targets": np.array([token]), "input_states_1": state[1], "input_states_2": state[2]}
        return self._prediction.run(inputs, ["prediction", "output_states_1", "output_states_2"])


def loop(graph: Session, encoded: Floats, lengths: list[int]) -> list[list[tuple[int, int, int, float]]]:
    """Tokens, frames, durations and confidences of each piece."""
    found = graph.run(
        {"encoder_outputs": encoded, "encoded_lengths": np.array(lengths)},
        ["tokens", "frames", "durations", "confidences"],
    )
    rows = range(len(lengths))
    return [
        [tuple(v[i, row] for v in found) for i in range(len(found[0])) if found[0][i, row] >= 0]
        for row in rows
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lengths", [[1], [2], [40], [40, 1, 17, 39], [5, 40, 40]])
def test_the_loop_finds_what_the_daemons_search_finds_at_every_batch_size(
    random_decoder: tuple[Any, Path], lengths: list[int], seed: int
) -> None:
    architecture, folder = random_decoder
    random = np.random.default_rng(seed)
    shape = (len(lengths), architecture.d_model, max(lengths))
    encoded = random.standard_normal(shape).astype(np.float32)
    graph = open_session(folder / "greedy-model.onnx", "cpu", threads=1)
    for row, found in enumerate(loop(graph, encoded, lengths)):
        expected = tdt.greedy(
            lengths[row],
            Steps(folder, architecture, encoded[row]),
            blank=architecture.vocabulary,
            durations=architecture.durations,
            max_symbols=MAX_SYMBOLS,
        )
        assert [token[:3] for token in found] == [(t.id, t.frame, t.duration) for t in expected]
        assert [token[3] for token in found] == pytest.approx([t.confidence for t in expected], abs=1e-5)


def test_the_random_decoder_meets_every_rule_of_the_search(random_decoder: tuple[Any, Path]) -> None:
    architecture, folder = random_decoder
    encoded = np.random.default_rng(0).standard_normal((1, architecture.d_model, 3000)).astype(np.float32)
    [found] = loop(open_session(folder / "greedy-model.onnx", "cpu", threads=1), encoded, [3000])
    frames = [int(token[1]) for token in found]
    at_one = [frames.count(frame) for frame in set(frames)]
    assert {int(token[2]) for token in found} == set(architecture.durations)
    assert max(at_one) == MAX_SYMBOLS, "the limit of tokens at a frame is reached"
    assert max(np.diff(frames)) > precisions.LOOK_AHEAD["fp32"], (
        "blanks reach over the frames looked at in one product"
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graphs_of_a_precision_share_one_file_in_which_no_weight_lies_twice(
    bundle: Bundle, precision: Precision
) -> None:
    weights = decoder_weights(precision)
    places: dict[bytes, set[str]] = {}
    for name in DECODER_GRAPHS:
        path = bundle.path / graph_file(name, precision)
        assert external_locations(path) == {weights}
        for tensor in all_tensors(onnx.load(path, load_external_data=False).graph):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if entries:
                data = (bundle.path / weights).read_bytes()
                begin = int(entries["offset"])
                places.setdefault(data[begin : begin + int(entries["length"])], set()).add(entries["offset"])
    assert len(places) >= 5
    assert all(len(offsets) == 1 for offsets in places.values())


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_each_precision_states_how_far_its_decoder_is_from_nemos(
    bundle: Bundle, precision: Precision
) -> None:
    measured = bundle.manifest.verification[precision]
    assert 0 < measured["decoder_steps_error"] <= verify_precision.STEPS_TOLERANCE[precision] / 2
    assert measured["tokens_changed"] <= 1


def change(bundle: Bundle, folder: Path, file: str, edit: Callable[[onnx.ModelProto], None]) -> Bundle:
    """A copy of the bundle with one graph edited, whose manifest knows of it."""
    copy = folder / "copy"
    shutil.copytree(bundle.path, copy)
    model = onnx.load(copy / file, load_external_data=False)
    edit(model)
    onnx.save(model, copy / file)
    files = dict(bundle.manifest.files)
    files[file] = FileEntry(sha256(copy / file), (copy / file).stat().st_size)
    write_manifest(copy, dataclasses.replace(bundle.manifest, files=files))
    return Bundle.read(copy)


def tanh_for_sigmoid(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Tanh"


def negation_for_activation(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Neg"


def least_likely_durations(model: onnx.ModelProto) -> None:
    [body] = [a.g for node in model.graph.node if node.op_type == "Loop" for a in node.attribute]
    [durations, _] = [node for node in body.node if node.op_type == "ArgMax"]
    durations.op_type = "ArgMin"


@pytest.mark.parametrize(
    ("file", "edit", "named"),
    [
        ("prediction-model.onnx", tanh_for_sigmoid, "logits of joint-model.onnx on step 1 of 12, batch 1"),
        ("joint-model.onnx", negation_for_activation, "logits of joint-model.onnx on step 1 of 12, batch 1"),
        ("projection-model.onnx", lambda model: model.graph.node.pop(), "projection-model.onnx"),
    ],
    ids=["a gate", "the activation", "no output"],
)
def test_a_step_that_is_not_nemos_is_named(
    bundle: Bundle,
    demo_reference: Reference,
    tmp_path: Path,
    file: str,
    edit: Callable[[onnx.ModelProto], None],
    named: str,
) -> None:
    with pytest.raises(VerificationFailed, match=named):
        check(change(bundle, tmp_path, file, edit), demo_reference)


def test_a_loop_that_does_not_find_nemos_tokens_is_named(
    bundle: Bundle, demo_reference: Reference, tmp_path: Path
) -> None:
    file = "greedy-model.onnx"
    graph = CheckedGraph(change(bundle, tmp_path, file, least_likely_durations), file)
    spoken = demo_reference.batches[0]
    assert spoken.hypotheses[0].ids
    with pytest.raises(VerificationFailed, match=r"(tokens|frames) of greedy-model.onnx on \w+.*: are \["):
        check_greedy(graph, spoken)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_decoder_with_wrong_weights_in_one_precision_is_not_published(
    torch: Any, tmp_path: Path, demo: Any, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    written = precisions.write_decoder_as

    def wrong(decoder: Any, kind: Precision, folder: Path) -> None:
        weight = decoder.joint["pred.weight"] * np.float32(1.3 if kind == precision else 1)
        written(dataclasses.replace(decoder, joint={**decoder.joint, "pred.weight": weight}), kind, folder)

    monkeypatch.setattr("parakeetd_convert.pipeline.write_decoder_as", wrong)
    file = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"
    job = Job(file, "demo", tmp_path, ("en-US",), precisions=("fp32", precision))
    with pytest.raises(VerificationFailed, match=rf"logits of joint-model\.{precision}\.onnx"):
        convert(job, nullcontext)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_the_joint_may_have_each_of_nemos_activations(plain_nemo: Path, activation: str) -> None:
    model = load_nemo(plain_nemo).model
    layers = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "ReLU"}
    import torch as library

    model.joint.joint_net[0] = getattr(library.nn, layers[activation])()
    assert not decoder_obstacle(model)
    assert read_decoder(model, read_architecture(model)).activation == layers[activation].replace(
        "ReLU", "Relu"
    )


def test_a_decoder_that_the_graphs_are_not_written_for_is_named(torch: Any, plain_nemo: Path) -> None:
    model = load_nemo(plain_nemo).model
    model.joint.joint_net[0] = torch.nn.GELU()
    assert decoder_obstacle(model) == "a joint of GELU and Linear"
    model = load_nemo(plain_nemo).model
    model.decoder.prediction["dec_rnn"].lstm = torch.nn.GRU(4, 4)
    assert decoder_obstacle(model) == "a prediction network of LSTMDropout"
    model = load_nemo(plain_nemo).model
    model.decoder.blank_as_pad = False
    assert decoder_obstacle(model) == "blank_as_pad = False"


def test_a_model_without_decoder_graphs_of_our_own_is_converted_and_says_so(
    torch: Any, plain_nemo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parakeetd_convert.pipeline.decoder_obstacle", lambda model: "a joint of cheese")
    said: list[str] = []

    def step(title: str) -> nullcontext[None]:
        said.append(title)
        return nullcontext()

    path = convert(Job(plain_nemo, "odd", tmp_path, ("und",), precisions=("fp32",)), step)
    assert "Leaving decoding to NeMo's own graph: the model has a joint of cheese" in said
    assert not (path / "greedy-model.onnx").exists()
    assert "decoder_steps_error" not in Bundle.read(path).manifest.verification


def test_a_loop_collects_every_run_and_carries_its_state(tmp_path: Path) -> None:
    with (
        WeightsFile(tmp_path / "shared.data") as weights,
        GraphWriter(tmp_path / "g.onnx", weights=weights) as graph,
    ):
        start = graph.input("start", onnx.TensorProto.INT64, [1])
        body = graph.body()
        inside = graph.fresh("state")
        after = body.add("Add", inside, body.ints(2))
        again = body.add("Squeeze", body.add("Less", after, body.ints(7)), body.ints(0))
        state = LoopState(start, inside, after, onnx.TensorProto.INT64)
        last, all_of_them = graph.add_loop(body, [state], again, [(after, onnx.TensorProto.INT64)])
        graph.output(last, "last", onnx.TensorProto.INT64, [1])
        graph.output(all_of_them, "all", onnx.TensorProto.INT64, ["runs", 1])
    session = open_session(tmp_path / "g.onnx", "cpu", threads=1)
    final, every = session.run({"start": np.array([0])}, ["last", "all"])
    assert final.tolist() == [8]
    assert every[:, 0].tolist() == [2, 4, 6, 8]
