"""Each exported graph against the module of NeMo that it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from parakeetd.model.bundle import LOG_MEL_GRAPH, Bundle
from parakeetd_convert.graphs import gather
from parakeetd_convert.nemo import Loaded
from parakeetd_convert.toolchain import quiet

TOLERANCE = 2e-4
"""Absolute; measured 2e-5 and less. Outputs are of the order of 1, logits of 10."""


def session(bundle: Bundle, graph: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(str(bundle.path / graph), options, providers=["CPUExecutionProvider"])


def features_of(batch: int, frames: int) -> NDArray[np.float32]:
    return np.random.default_rng(frames).standard_normal((batch, 80, frames)).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 8, 9, 30, 101, 2_000, 2_048, 2_049, 2_400])
def test_the_encoder_is_nemos_at_any_length(torch: Any, demo: Loaded, bundle: Bundle, frames: int) -> None:
    features, lengths = features_of(1, frames), np.array([frames])
    ours = session(bundle, "encoder-model.onnx").run(
        ["outputs", "encoded_lengths"], {"audio_signal": features, "length": lengths}
    )
    with torch.inference_mode(), quiet():
        nemo = demo.model.encoder(audio_signal=torch.from_numpy(features), length=torch.from_numpy(lengths))
    assert ours[1].tolist() == nemo[1].tolist() == [(frames - 1) // 8 + 1]
    assert ours[0].shape == nemo[0].shape
    assert np.abs(ours[0] - nemo[0].numpy()).max() <= TOLERANCE


def test_the_encoder_takes_a_batch_of_different_lengths(torch: Any, demo: Loaded, bundle: Bundle) -> None:
    features, lengths = features_of(3, 300), np.array([300, 17, 123])
    for row, length in zip(features, lengths, strict=True):
        row[:, length:] = 0
    outputs, frames = session(bundle, "encoder-model.onnx").run(
        ["outputs", "encoded_lengths"], {"audio_signal": features, "length": lengths}
    )
    with torch.inference_mode(), quiet():
        nemo = demo.model.encoder(audio_signal=torch.from_numpy(features), length=torch.from_numpy(lengths))[
            0
        ]
    for row, count in enumerate(frames):
        assert np.abs(outputs[row, :, :count] - nemo[row, :, :count].numpy()).max() <= TOLERANCE


@pytest.mark.parametrize("batch", [1, 3])
def test_prediction_network_and_joint_carry_their_state_as_in_nemo(
    torch: Any, demo: Loaded, bundle: Bundle, batch: int
) -> None:
    generator = np.random.default_rng(batch)
    graph = session(bundle, "decoder_joint-model.onnx")
    module = demo.model.decoder_joint
    states = [np.zeros((1, batch, 160), np.float32)] * 2
    nemo_states = [torch.zeros(1, batch, 160)] * 2
    for _ in range(6):
        frame = generator.standard_normal((batch, 160, 1)).astype(np.float32)
        token = generator.integers(0, 193, (batch, 1)).astype(np.int32)
        outputs, *states = graph.run(
            ["outputs", "output_states_1", "output_states_2"],
            {
                "encoder_outputs": frame,
                "targets": token,
                "target_length": np.ones(batch, np.int32),
                "input_states_1": states[0],
                "input_states_2": states[1],
            },
        )
        with torch.inference_mode(), quiet():
            predicted, nemo_states = demo.model.decoder.predict(
                torch.from_numpy(token).long(), nemo_states, add_sos=False
            )[:2]
            hidden = module.joint.enc(torch.from_numpy(frame).transpose(1, 2)) + module.joint.pred(predicted)
            logits = module.joint.joint_net(hidden)
        assert outputs.shape == (batch, 1, 1, 192 + 1 + 5)
        assert np.abs(outputs[:, 0, 0] - logits[:, 0].numpy()).max() <= TOLERANCE
        assert np.abs(states[0] - nemo_states[0].numpy()).max() <= TOLERANCE
        assert np.abs(states[1] - nemo_states[1].numpy()).max() <= TOLERANCE


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 250), (3, 40)])
def test_the_ctc_head_gives_nemos_log_probabilities(
    torch: Any, demo: Loaded, bundle: Bundle, batch: int, frames: int
) -> None:
    encoded = np.random.default_rng(7).standard_normal((batch, 160, frames)).astype(np.float32)
    [ours] = session(bundle, "ctc-model.onnx").run(["logprobs"], {"encoder_outputs": encoded})
    with torch.inference_mode(), quiet():
        nemo = demo.model.ctc_decoder(encoder_output=torch.from_numpy(encoded)).numpy()
    assert ours.shape == nemo.shape == (batch, frames, 193)
    assert np.abs(ours - nemo).max() <= TOLERANCE


def test_batch_and_time_are_dynamic_in_every_graph(bundle: Bundle) -> None:
    expected: dict[str, dict[str, tuple[int, ...]]] = {
        LOG_MEL_GRAPH: {
            "waveforms": (0, 1),
            "waveforms_lens": (0,),
            "features": (0, 2),
            "features_lens": (0,),
        },
        "encoder-model.onnx": {
            "audio_signal": (0, 2),
            "length": (0,),
            "outputs": (0, 2),
            "encoded_lengths": (0,),
        },
        "decoder_joint-model.onnx": {"encoder_outputs": (0, 2), "targets": (0, 1), "input_states_1": (1,)},
        "ctc-model.onnx": {"encoder_outputs": (0, 2), "logprobs": (0, 1)},
    }
    for graph, tensors in expected.items():
        opened = session(bundle, graph)
        declared = {item.name: item.shape for item in (*opened.get_inputs(), *opened.get_outputs())}
        for tensor, axes in tensors.items():
            assert all(isinstance(declared[tensor][axis], str) for axis in axes), f"{graph} {tensor}"


def test_no_graph_tells_where_it_was_made(bundle: Bundle) -> None:
    for graph in bundle.path.glob("*.onnx"):
        content = graph.read_bytes()
        assert str(bundle.path.parent).encode() not in content, graph.name
        assert b"site-packages" not in content, graph.name


def test_loose_external_weights_are_gathered_into_one_file_beside_the_graph(tmp_path: Any) -> None:
    generator = np.random.default_rng(0)
    weights = [generator.standard_normal((size, size)).astype(np.float32) for size in (3, 64, 100)]
    tensors = []
    loose = tmp_path / "loose"
    loose.mkdir()
    for index, weight in enumerate(weights[1:], start=1):
        tensor = onnx.numpy_helper.from_array(weight, f"w{index}")
        (loose / f"w{index}.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", f"w{index}.bin"
        tensors.append(tensor)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w1"], ["y"]),
        onnx.helper.make_node("ReduceSum", ["w2"], ["z"]),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "two",
        [value("x", onnx.TensorProto.FLOAT, [1, 64])],
        [value("y", onnx.TensorProto.FLOAT, [1, 64]), value("z", onnx.TensorProto.FLOAT, [1, 1])],
        tensors,
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), loose / "two.onnx")

    gather(loose / "two.onnx", tmp_path / "two.onnx")

    assert sorted(file.name for file in tmp_path.iterdir()) == ["loose", "two.onnx", "two.onnx.data"]
    assert [file.name for file in loose.iterdir()] == ["two.onnx"]
    (loose / "two.onnx").unlink()
    x = np.ones((1, 64), np.float32)
    opened = onnxruntime.InferenceSession(str(tmp_path / "two.onnx"), providers=["CPUExecutionProvider"])
    y, z = opened.run(None, {"x": x})
    np.testing.assert_allclose(y, x @ weights[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(z, [[weights[2].sum()]], rtol=1e-5, atol=1e-4)
