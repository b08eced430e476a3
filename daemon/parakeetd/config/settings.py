"""What can be set: a frozen dataclass for each table, each value checked as it is made.

Every setting has a default, so that no file is needed; `parakeetd serve --help` names the flags that override it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parakeetd.entrance.access import Access
from parakeetd.entrance.address import parse_address
from parakeetd.entrance.limits import CallLimits
from parakeetd.errors import ConfigError, ListenError
from parakeetd.logs import Format
from parakeetd.model.bundle import EMBEDDED
from parakeetd.session import SessionSettings
from parakeetd.vad import CONFIRM_THRESHOLD, ConfirmerName, DetectorName, Segmentation

DeviceChoice = Literal["auto", "cpu", "cuda"]
PrecisionChoice = Literal["auto", "fp32", "int8", "fp16"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Table `[server]`."""

    listen: tuple[str, ...] = ()
    """Addresses: `HOST:PORT` or `unix:PATH`; empty for `Paths.default_listen`."""
    token_file: str = ""
    """Path of the tokens, one a line, of which each call by TCP must carry one; empty: none."""
    insecure_remote: bool = False
    """Whether other machines may connect without TLS and without a token."""
    socket_group: str = ""
    """Group whose members may open unix sockets too; empty: the owner alone."""
    drain_seconds: float = 10.0
    """At shutdown, time for streams to end by themselves before their audio is ended for them."""

    def __post_init__(self) -> None:
        _check_addresses(self.listen)
        if not 0 <= self.drain_seconds <= 60:
            raise ConfigError(f"server.drain_seconds must be 0 to 60, not {self.drain_seconds}")
        _check_path("server.token_file", self.token_file)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Table `[tls]`: for all TCP addresses. Paths of PEM files; read again when they change."""

    certificate: str = ""
    """The server's, with those between it and its authority behind it; empty: TCP is not encrypted."""
    key: str = ""
    client_ca: str = ""
    """Clients must show a certificate that one of these signed; empty: they need not show one."""

    def __post_init__(self) -> None:
        for name in ("certificate", "key", "client_ca"):
            _check_path(f"tls.{name}", getattr(self, name))
        if bool(self.certificate) != bool(self.key):
            raise ConfigError("tls.certificate and tls.key belong together: give both, or neither")
        if self.client_ca and not self.certificate:
            raise ConfigError("tls.client_ca needs tls.certificate and tls.key")


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Table `[limits]`. Those of streams are checked by `SessionSettings`."""

    max_streams: int = 32
    """Streams and recordings at once."""
    max_streams_per_client: int | None = None
    """None: half of them for a client on another machine, all for those on this one."""
    max_connections: int = 256
    """To each address."""
    max_message_mib: int = 64
    max_recording_seconds: float = 3600.0
    """Audio of a recording in one message, and of a compressed file in a stream."""
    max_stream_seconds: float = 0.0
    """The longest stream; 0: any."""
    max_queued_seconds: float = 3600.0
    """Audio of all streams that waits; above it new streams are refused."""
    idle_seconds: float = 60.0
    """A stream that sends nothing for this long is ended."""
    unread_seconds: float = 20.0
    """A client that does not read its results for this long is ended."""
    upload_seconds: float = 300.0
    """In which a recording must have arrived."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_connections <= 100_000:
            raise ConfigError(f"limits.max_connections must be 1 to 100000, not {self.max_connections}")
        if not 1 <= self.max_message_mib <= 1024:
            raise ConfigError(f"limits.max_message_mib must be 1 to 1024, not {self.max_message_mib}")
        for name in ("unread_seconds", "upload_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"limits.{name} must be above 0, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Table `[model]`."""

    name: str = ""
    """Bundle to serve; empty for the only installed one, or the embedded demo model."""


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Table `[device]`."""

    choice: DeviceChoice = "auto"
    """`auto` uses a GPU when one works; `cuda` insists on it and keeps the CPU for when it fails."""
    threshold_seconds: float | None = None
    """Segments from this length go to the GPU, whatever was measured; None for the device that is predicted to finish
    first."""
    threads: int = 0
    """CPU threads of one segment; 0 for one per physical core, and for one where the model is small: there the cores
    share batches."""
    precision: PrecisionChoice = "auto"
    """`auto` is the fastest that the model has for the device: int8 on a CPU, fp16 on a GPU."""
    gpu_idle_seconds: float = 300.0
    """A GPU that has had nothing to do for this long is left, with all its memory; 0: never."""
    cpu_idle_seconds: float = 0.0
    """The same for the model on the CPU."""
    cpu_process: bool = False
    """The CPU's engine has a process of its own too: for more streams than one core can hear, 100 and more."""

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"device.threads must be 0 or more, not {self.threads}")
        for key in ("gpu_idle_seconds", "cpu_idle_seconds"):
            if getattr(self, key) < 0:
                raise ConfigError(f"device.{key} must be 0 or more, not {getattr(self, key)}")
        if self.threshold_seconds is not None and self.threshold_seconds < 0:
            raise ConfigError(f"device.threshold_seconds must be 0 or more, not {self.threshold_seconds}")


@dataclass(frozen=True, slots=True)
class VadSettings:
    """Table `[vad]`."""

    detector: DetectorName = "webrtc"
    aggressiveness: int = 2
    """0 lets most through as speech, 3 least."""
    confirm: ConfirmerName = "silero"
    """What the detector calls speech is recognised once Silero VAD agrees; `off`: at once."""
    confirm_threshold: float = CONFIRM_THRESHOLD
    """Above 0 and below 1: higher refuses more noise, and more of what is said very softly."""

    def __post_init__(self) -> None:
        if self.aggressiveness not in range(4):
            raise ConfigError(f"vad.aggressiveness must be 0, 1, 2 or 3, not {self.aggressiveness}")
        if not 0 < self.confirm_threshold < 1:
            raise ConfigError(
                f"vad.confirm_threshold must be between 0 and 1, not {self.confirm_threshold:g}"
            )


@dataclass(frozen=True, slots=True)
class TextSettings:
    """Table `[text]`."""

    punctuation: Literal["request", "always"] = "request"
    """`request` writes the model's punctuation for clients that ask for it, as Riva does; `always` for all."""
    commands: bool | str = False
    """Spoken commands, for clients that do not say; a path is the table to use, and switches them on."""
    profanity: str = ""
    """Path of the list for the profanity filter; empty for the shipped one."""

    def __post_init__(self) -> None:
        for key, given in (("commands", self.commands), ("profanity", self.profanity)):
            if isinstance(given, str):
                _check_path(f"text.{key}", given)

    @property
    def commands_file(self) -> Path | None:
        """None for the shipped table."""
        return _user_path(self.commands) if isinstance(self.commands, str) else None

    @property
    def profanity_file(self) -> Path | None:
        return _user_path(self.profanity) if self.profanity else None


@dataclass(frozen=True, slots=True)
class MicrophoneSettings:
    """Table `[microphone]`."""

    device: str = ""
    """Name or description of a source of the sound server, or a part of either; empty for the default one, also when
    another becomes the default."""
    ring_ms: int = 0
    """Audio from before a start that is recognised too. Above 0 the microphone is open as long as the daemon runs."""
    dbus: bool = True
    """Offer the microphone on the session's D-Bus, where there is one."""

    def __post_init__(self) -> None:
        if not 0 <= self.ring_ms <= 5_000:
            raise ConfigError(f"microphone.ring_ms must be 0 to 5000, not {self.ring_ms}")


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Table `[metrics]`."""

    listen: str = ""
    """`HOST:PORT` on this machine where Prometheus may read, such as `127.0.0.1:9464`; empty: nowhere."""

    def __post_init__(self) -> None:
        if self.listen:
            _check_addresses((self.listen,), "metrics.listen")


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Table `[adapters]`: other protocols, each at an address of its own, `HOST:PORT` or `unix:PATH`; empty: none."""

    wyoming: str = ""
    """Home Assistant's, such as `127.0.0.1:10300`. It has no authentication: an address of this machine, unless
    `server.insecure_remote`."""
    openai: str = ""
    """OpenAI's, such as `127.0.0.1:8000`. `server.token_file` and `[tls]` are for it too."""

    def __post_init__(self) -> None:
        for key in ("wyoming", "openai"):
            if text := getattr(self, key):
                _check_addresses((text,), f"adapters.{key}")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Table `[log]`."""

    format: Format = "text"
    """`json` is an object a line, `journal` text with systemd's priorities."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Table `[cluster]`: what `parakeetd cluster deploy` asks Ray Serve for. `[limits]` are each replica's."""

    port: int = 50051
    """Of the proxies, at every address of their machines: Ray has no other way. The next one is used too, within each
    machine."""
    proxies: Literal["every-node", "head"] = "every-node"
    """Where clients may connect: at every machine that has a replica, or at the head node alone."""
    min_replicas: int = 1
    max_replicas: int = 4
    target_streams: int = 0
    """Streams of a replica above which Serve adds another; 0: three quarters of `limits.max_streams`."""
    cpus: float = 1.0
    """Cores of a replica, for Ray to find it a place."""
    gpus: float = 0.0
    """GPUs of a replica; a part of one, such as 0.5, shares it."""
    max_waiting: int = 32
    """Streams that wait at a proxy for a place at any replica; the next one is refused."""
    grow_seconds: float = 10.0
    """How long it must be too full before replicas are added, and too empty before they go."""
    shrink_seconds: float = 600.0
    drain_seconds: float = 300.0
    """A replica that goes has this long for its streams to end."""

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65534:
            raise ConfigError(f"cluster.port must be 1 to 65534, not {self.port}")
        for name in ("min_replicas", "max_replicas", "max_waiting"):
            if getattr(self, name) < 1:
                raise ConfigError(f"cluster.{name} must be at least 1, not {getattr(self, name)}")
        if self.max_replicas < self.min_replicas:
            raise ConfigError(
                f"cluster.max_replicas must be at least cluster.min_replicas = {self.min_replicas}, "
                f"not {self.max_replicas}"
            )
        for name in ("target_streams", "cpus", "gpus", "grow_seconds", "shrink_seconds", "drain_seconds"):
            if getattr(self, name) < 0:
                raise ConfigError(f"cluster.{name} must be 0 or more, not {getattr(self, name)}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(f"cluster.gpus above 1 must be a whole number, not {self.gpus}")


@dataclass(frozen=True, slots=True)
class Config:
    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    vad: VadSettings = field(default_factory=VadSettings)
    segmentation: Segmentation = field(default_factory=Segmentation)
    text: TextSettings = field(default_factory=TextSettings)
    microphone: MicrophoneSettings = field(default_factory=MicrophoneSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    adapters: AdapterSettings = field(default_factory=AdapterSettings)
    log: LogSettings = field(default_factory=LogSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)

    def __post_init__(self) -> None:
        # The session room checks its own limits: here, while it is known which file they came from.
        _ = self.sessions

    @property
    def sessions(self) -> SessionSettings:
        return SessionSettings(
            max_streams=self.limits.max_streams,
            max_streams_per_client=self.limits.max_streams_per_client,
            idle_seconds=self.limits.idle_seconds,
            max_stream_seconds=self.limits.max_stream_seconds,
            max_recording_seconds=self.limits.max_recording_seconds,
            max_queued_seconds=self.limits.max_queued_seconds,
            detector=self.vad.detector,
            aggressiveness=self.vad.aggressiveness,
            confirm=self.vad.confirm,
            confirm_threshold=self.vad.confirm_threshold,
            segmentation=self.segmentation,
        )

    @property
    def calls(self) -> CallLimits:
        return CallLimits(
            max_connections=self.limits.max_connections,
            max_message_mib=self.limits.max_message_mib,
            unread_seconds=self.limits.unread_seconds,
            upload_seconds=self.limits.upload_seconds,
        )

    @property
    def access(self) -> Access:
        def path(text: str) -> Path | None:
            return _user_path(text) if text else None

        return Access(
            certificate=path(self.tls.certificate),
            key=path(self.tls.key),
            client_ca=path(self.tls.client_ca),
            token_file=path(self.server.token_file),
            insecure_remote=self.server.insecure_remote,
            socket_group=self.server.socket_group,
        )


def default_model(installed: list[str]) -> str:
    """The model to serve when none is named: the only full one, or the embedded one.

    Raises:
        ConfigError: several are installed, and guessing would surprise.
    """
    full = [name for name in installed if name != EMBEDDED.name]
    if len(full) > 1:
        raise ConfigError(
            f"several models are installed ({', '.join(full)}); name one with --model or model.name"
        )
    return full[0] if full else EMBEDDED.name


def _check_addresses(addresses: tuple[str, ...], key: str = "server.listen") -> None:
    if not addresses:
        return
    for text in addresses:
        try:
            parse_address(text)
        except ListenError as error:
            raise ConfigError(f"{key}: {error}") from error


def _check_path(key: str, text: str) -> None:
    if text and not _user_path(text).is_absolute():
        raise ConfigError(f"{key} must be an absolute path or begin with ~/, not {text!r}")


def _user_path(text: str) -> Path:
    """A path in the file; one that begins with `~` is below a home folder, if there is one."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
