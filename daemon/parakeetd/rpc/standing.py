"""How a daemon stands, as its Control service tells it: in the daemon's own words, and in messages. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from parakeetd.model.sessions import Device
from parakeetd.routing import DeviceReport
from parakeetd_proto import control_pb2 as control

State = Literal["loading", "serving", "draining"]

_STATES: Final[dict[State, control.StatusResponse.State.ValueType]] = {
    "loading": control.StatusResponse.LOADING,
    "serving": control.StatusResponse.SERVING,
    "draining": control.StatusResponse.DRAINING,
}


@dataclass(frozen=True, slots=True)
class DeviceStanding:
    """A device that a model may run on."""

    device: Device
    engine: str = "open"
    """`closed` when nobody needs it now; `opening`, `open`, `suspended`..."""
    healthy: bool = True
    running: int = 0
    """Segments that it computes now."""
    failure: str = ""
    """Why it failed last, until it has succeeded again."""
    ratio: float = 1.0
    """How long its runs took of late, over what was predicted."""
    failures: int = 0
    """How often it failed, hung or could not be opened."""
    memory_bytes: int = 0
    """What the model holds on it; 0 where that is not known."""
    pid: int = 0
    """Of the process of its own that the engine lives in; 0 when it lives in the daemon's."""


@dataclass(frozen=True, slots=True)
class ModelStanding:
    """A model that serves."""

    name: str
    path: Path
    languages: tuple[str, ...] = ()
    is_default: bool = True
    streams: int = 0
    queued: int = 0
    """Segments that wait for a device."""
    devices: tuple[DeviceStanding, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """The whole daemon."""

    state: State
    summary: str
    """One line for people."""
    version: str = ""
    pid: int = 0
    uptime_seconds: float = 0.0
    addresses: tuple[str, ...] = ()
    models: tuple[ModelStanding, ...] = ()
    """The default first."""
    streams: int = 0
    max_streams: int = 0
    resident_bytes: int = 0
    configuration: str = ""
    """The file that a reload reads; empty when there is none."""


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model on disk."""

    name: str
    path: Path
    languages: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    loaded: bool = False
    is_default: bool = False
    problem: str = ""
    """What is wrong with it; empty when it can be used."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload has done."""

    changes: tuple[str, ...] = ()
    """What is different now, a line each."""
    needs_restart: tuple[str, ...] = field(default=())
    """Settings that have changed and hold from the next start on."""


def device_standing(report: DeviceReport) -> DeviceStanding:
    """A device's part, by what its router reports."""
    return DeviceStanding(
        report.device,
        report.engine,
        report.healthy,
        report.running,
        report.failure or "",
        report.ratio,
        report.failures,
        report.memory_bytes or 0,
        report.pid or 0,
    )


def in_words(model: ModelStanding) -> str:
    """A model and its devices, for people: `demo on CPU, GPU at rest`."""
    return f"{model.name} on " + ", ".join(map(_device_in_words, model.devices))


def _device_in_words(device: DeviceStanding) -> str:
    name = {"cpu": "CPU", "cuda": "GPU"}[device.device]
    if not device.healthy:
        return f"{name} (failed)"
    if device.engine == "open":
        return name
    return f"{name} at rest" if device.engine == "closed" else f"{name} ({device.engine})"


def status_response(standing: Standing) -> control.StatusResponse:
    return control.StatusResponse(
        state=_STATES[standing.state],
        summary=standing.summary,
        version=standing.version,
        pid=standing.pid,
        uptime_seconds=standing.uptime_seconds,
        addresses=standing.addresses,
        models=map(model_message, standing.models),
        streams=standing.streams,
        max_streams=standing.max_streams,
        resident_bytes=standing.resident_bytes,
        configuration=standing.configuration,
    )


def read_status(response: control.StatusResponse) -> Standing:
    """The reverse of `status_response`."""
    named: dict[int, State] = {number: name for name, number in _STATES.items()}
    return Standing(
        # A newer daemon may know states that this client does not: it answers, so it is there.
        state=named.get(response.state, "serving"),
        summary=response.summary,
        version=response.version,
        pid=response.pid,
        uptime_seconds=response.uptime_seconds,
        addresses=tuple(response.addresses),
        models=tuple(map(read_model, response.models)),
        streams=response.streams,
        max_streams=response.max_streams,
        resident_bytes=response.resident_bytes,
        configuration=response.configuration,
    )


def model_message(model: ModelStanding) -> control.Model:
    return control.Model(
        name=model.name,
        path=str(model.path),
        languages=model.languages,
        is_default=model.is_default,
        streams=model.streams,
        queued=model.queued,
        devices=[
            control.Device(
                name=device.device,
                engine=device.engine,
                healthy=device.healthy,
                running=device.running,
                failure=device.failure,
                ratio=device.ratio,
                failures=device.failures,
                memory_bytes=device.memory_bytes,
                pid=device.pid,
            )
            for device in model.devices
        ],
    )


def read_model(message: control.Model) -> ModelStanding:
    return ModelStanding(
        message.name,
        Path(message.path),
        tuple(message.languages),
        message.is_default,
        message.streams,
        message.queued,
        tuple(
            DeviceStanding(
                "cuda" if device.name == "cuda" else "cpu",
                device.engine,
                device.healthy,
                device.running,
                device.failure,
                device.ratio,
                device.failures,
                device.memory_bytes,
                device.pid,
            )
            for device in message.devices
        ),
    )


def models_response(models: Sequence[InstalledModel]) -> control.ListModelsResponse:
    return control.ListModelsResponse(
        models=[
            control.InstalledModel(
                name=model.name,
                path=str(model.path),
                languages=model.languages,
                precisions=model.precisions,
                loaded=model.loaded,
                is_default=model.is_default,
                problem=model.problem,
            )
            for model in models
        ]
    )
