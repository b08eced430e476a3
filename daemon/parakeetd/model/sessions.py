"""Opens ONNX Runtime sessions on a device, and says why when a device cannot be had.

ONNX Runtime lists CUDA as available wherever its GPU package is installed, and a session that cannot use it
runs on the CPU without an exception. So a device counts as present only after a session opened on it.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from parakeetd.errors import DeviceError

Device = Literal["cpu", "cuda"]

log = logging.getLogger(__name__)


class OnDevice(Protocol):
    """A tensor in the memory of a device: ONNX Runtime's `OrtValue`."""

    def numpy(self) -> NDArray[Any]:
        """A copy of it on the host."""
        ...

    def shape(self) -> list[int]: ...


_CUDA_OPTIONS = {
    # EXHAUSTIVE, the default, tries every convolution algorithm at each new shape: up to 1.3 s for a segment.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The default takes the next power of two: a GPU that is shared would lose up to twice what is used.
    "arena_extend_strategy": "kSameAsRequested",
    # float32 means float32: TensorFloat-32 keeps 10 bits of a factor, which quiet bands of a log-mel do not survive.
    "use_tf32": "0",
}

_PROVIDERS: Mapping[Device, list[tuple[str, dict[str, str]]]] = {
    "cpu": [("CPUExecutionProvider", {})],
    "cuda": [("CUDAExecutionProvider", _CUDA_OPTIONS), ("CPUExecutionProvider", {})],
}

_SHRINK_ARENA = "memory.enable_memory_arena_shrinkage"
"""Key of a run's options that gives back, afterwards, the blocks of a device's memory that nothing lies in."""

_ARENAS: Mapping[Device, str] = {"cpu": "cpu:0", "cuda": "gpu:0"}

# y = x + x: the smallest graph that makes a provider load its libraries and touch its device.
_PROBE = bytes.fromhex(
    "08083a370a0e0a0178 0a0178 1201 79 2203416464 120167 5a10 0a0178 120b 0a09 0801 1205 0a03 1201 6e"
    "6210 0a0179 120b 0a09 0801 1205 0a03 1201 6e 4204 0a00 1011"
)


class Session:
    """A graph on a device. Thread-safe, as ONNX Runtime's `run` is."""

    def __init__(self, session: ort.InferenceSession, device: Device, *copies: ort.InferenceSession) -> None:
        """
        Args:
            copies: the same graph opened again, for runs at the same time. Two runs of one of ONNX Runtime's sessions
                wait for each other at every operator, for the lock of its memory: the encoder of the embedded model
                took 4 ms in each of two threads, and 1.8 with a session for each.
        """
        self.device = device
        self._session = session
        self._idle = deque([*copies, session])
        self._outputs = [output.name for output in session.get_outputs()]

    @contextmanager
    def _one(self) -> Iterator[ort.InferenceSession]:
        """One of the sessions, for a run."""
        try:
            # The one that was used last: what it needs lies in a cache.
            session = self._idle.pop()
        except IndexError:
            # More runs than sessions: they share one.
            yield self._session
            return
        try:
            yield session
        finally:
            self._idle.append(session)

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:
        """The named outputs (all, in the graph's order, when not given) for these inputs."""
        with self._one() as session:
            results: list[NDArray[Any]] = session.run(outputs or self._outputs, dict(inputs))
        return results

    def run_on_device(
        self, inputs: Mapping[str, NDArray[Any] | OnDevice], outputs: Sequence[str], *, shrink: bool = False
    ) -> list[OnDevice]:
        """The named outputs, left in the device's memory for the next graph.

        Args:
            inputs: arrays, which are copied to the device, or what another graph left there.
            shrink: give memory back after this run, because it takes more than usual ones. Otherwise the session keeps
                what its largest run took.
        """
        with self._one() as session:
            binding = session.io_binding()
            for name, value in inputs.items():
                if isinstance(value, np.ndarray):
                    binding.bind_cpu_input(name, np.ascontiguousarray(value))
                else:
                    binding.bind_ortvalue_input(name, value)
            for name in outputs:
                binding.bind_output(name, self.device)
            session.run_with_iobinding(binding, _run_options(self.device, shrink=shrink))
            results: list[OnDevice] = binding.get_outputs()
        return results

    def shape(self, name: str) -> list[int | str | None]:
        """Declared shape of an input or output; dynamic axes are names.

        Raises:
            KeyError: the graph has neither of this name.
        """
        for item in (*self._session.get_inputs(), *self._session.get_outputs()):
            if item.name == name:
                return list(item.shape)
        raise KeyError(name)


def on_host(tensor: NDArray[Any] | OnDevice) -> NDArray[Any]:
    """The tensor as an array."""
    return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()


def open_session(
    graph: Path | bytes, device: Device, *, threads: int = 0, awake_us: int = 0, at_once: int = 1
) -> Session:
    """Open a graph on exactly this device.

    Args:
        graph: path of an `.onnx` file, or its bytes.
        threads: threads inside one operator on the CPU; 0 for one per physical core.
        awake_us: microseconds that the threads wait, spinning, for the next run; for graphs that run in quick
            succession.
        at_once: runs that there will be at the same time on the CPU; each more takes the memory of the weights again.

    Raises:
        DeviceError: the device cannot be used; the message carries ONNX Runtime's own reason.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or physical_cores()
    options.inter_op_num_threads = 1
    # Threads that spin between two operators of a run save 13 % of an int8 encoder's time; threads that spin when
    # nothing runs take whole cores away from every other program of the machine.
    if awake_us:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(awake_us))
    else:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    # Saves a fifth of the time that opening takes, which is mostly the packing of weights.
    options.add_session_config_entry("session.prepack.enable_parallel", "1")
    options.log_severity_level = 3
    # A plan of the memory for each shape of input that ever came saves a CPU no time and is kept for good: 16 KB and
    # more for each length of a segment. On a GPU lengths are rounded up, so that shapes are few.
    options.enable_mem_pattern = device == "cuda"
    source = graph if isinstance(graph, bytes) else str(graph)
    if device == "cpu":
        try:
            first, *others = [
                ort.InferenceSession(source, options, providers=_PROVIDERS["cpu"]) for _ in range(at_once)
            ]
            return Session(first, "cpu", *others)
        except Exception as error:
            raise DeviceError("cpu", f"cannot open {_called(graph)}: {_first_line(error)}") from error
    with _native_stderr() as captured:
        try:
            # Finds NVIDIA's libraries where pip put them. It prints what it misses; the session says it better.
            with redirect_stdout(io.StringIO()):
                ort.preload_dlls()
            session = ort.InferenceSession(source, options, providers=_PROVIDERS["cuda"])
        except Exception as error:
            raise DeviceError("cuda", _first_line(error)) from error
    if "CUDAExecutionProvider" not in session.get_providers():
        raise DeviceError("cuda", cuda_reason("".join(captured)))
    return Session(session, "cuda")


def probe(device: Device) -> None:
    """Try the device with a one-operator graph.

    Raises:
        DeviceError: it cannot be used; the message says why.
    """
    session = open_session(_PROBE, device, threads=1)
    [doubled] = session.run({"x": np.array([1.0, 2.0], np.float32)})
    if doubled.tolist() != [2.0, 4.0]:
        raise DeviceError(device, f"computes wrong results: 1+1, 2+2 gave {doubled.tolist()}")


def cuda_reason(stderr: str) -> str:
    """The cause in what ONNX Runtime printed when it could not use CUDA, in one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stderr)
    if missing := re.search(r"with error: (\S+\.so[.\d]*): cannot open shared object", plain):
        return (
            f"{missing[1]} is missing; install NVIDIA's CUDA 13 and cuDNN 9 libraries, "
            "for example with: pip install 'parakeetd[cuda]'"
        )
    if failure := re.search(r"(CUDA failure \d+: [^;\n]*|CUDNN failure \d+: [^;\n]*)", plain):
        return f"{failure[1].strip()}; check that nvidia-smi lists a GPU and that the driver is current"
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return lines[-1] if lines else "ONNX Runtime opened the session on the CPU and gave no reason"


def physical_cores() -> int:
    """Physical cores this process may use, at least 1: hyper-threads do not help matrix products."""
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            siblings = str(cpu)
        cores.add(siblings.strip())
    return max(1, len(cores))


def _run_options(device: Device, *, shrink: bool) -> ort.RunOptions | None:
    if not shrink:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry(_SHRINK_ARENA, _ARENAS[device])
    return options


def _called(graph: Path | bytes) -> str:
    return "a graph in memory" if isinstance(graph, bytes) else str(graph)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


_capture_lock = threading.Lock()


@contextmanager
def _native_stderr() -> Iterator[list[str]]:
    """Collect what native code writes to file descriptor 2; the list is filled when the block ends.

    ONNX Runtime tells the reason for a failed provider only there. Used while a GPU session opens, no longer.
    """
    collected: list[str] = []
    with _capture_lock, tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield collected
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            text = sink.read().decode(errors="replace")
            collected.append(text)
            if text:
                log.debug("while a CUDA session opened, ONNX Runtime wrote: %s", text)
