"""What Ray Serve is asked for, by the configuration. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from parakeetd.config import Config
from parakeetd.errors import ConfigError

APPLICATION: Final = "parakeetd"
"""Name of the application, and of its one deployment."""

_SERVICES: Final = "parakeetd.cluster.door.add_services"
_ROUTER: Final = "parakeetd.cluster.router.FewestStreams"

LOOK_SECONDS: Final = 1.0
"""How often a replica that goes looks whether its streams have ended, and how often it tells how it stands."""

_ATTEMPTS: Final = 3
"""To start replicas, before a deployment has failed."""

_HEALTH_SECONDS: Final = 10.0
"""How often Serve asks a replica whether it works, and how long it waits for the answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A deployment, in Serve's words."""

    options: dict[str, Any]
    """Of the deployment."""
    proxy_location: str
    grpc_options: dict[str, Any]
    http_options: dict[str, Any]
    config: Config
    """What each replica serves by."""
    warnings: tuple[str, ...] = ()
    """What its owner should know."""


def plan(config: Config) -> Plan:
    """
    Raises:
        ConfigError: the configuration asks for what a cluster cannot do, or nothing guards its proxies.
    """
    cluster = config.cluster
    if config.tls.certificate:
        raise ConfigError(
            "tls.certificate: Ray Serve's proxy cannot encrypt; let a proxy such as Envoy do it, and leave it out here"
        )
    if not (config.server.token_file or config.server.insecure_remote):
        raise ConfigError(
            f"cluster: Ray Serve's proxies listen on port {cluster.port} of every address of their machines: set "
            "server.token_file, or server.insecure_remote = true where the network keeps others out"
        )
    streams = config.limits.max_streams
    target = cluster.target_streams or max(1, streams * 3 // 4)
    if target > streams:
        raise ConfigError(
            f"cluster.target_streams must be at most limits.max_streams = {streams}, not {target}"
        )
    return Plan(
        options={
            "name": APPLICATION,
            # The router sends a full replica nothing more, so that a stream goes where there is room.
            "max_ongoing_requests": streams,
            "max_queued_requests": cluster.max_waiting,
            "request_router_config": {"request_router_class": _ROUTER},
            "autoscaling_config": {
                "min_replicas": cluster.min_replicas,
                "max_replicas": cluster.max_replicas,
                "initial_replicas": cluster.min_replicas,
                "target_ongoing_requests": target,
                "upscale_delay_s": cluster.grow_seconds,
                "downscale_delay_s": cluster.shrink_seconds,
            },
            "graceful_shutdown_timeout_s": cluster.drain_seconds,
            "graceful_shutdown_wait_loop_s": LOOK_SECONDS,
            # A model that is not there will not come by trying.
            "max_constructor_retry_count": _ATTEMPTS,
            "health_check_period_s": _HEALTH_SECONDS,
            "health_check_timeout_s": _HEALTH_SECONDS,
            "ray_actor_options": {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus},
        },
        proxy_location={"every-node": "EveryNode", "head": "HeadOnly"}[cluster.proxies],
        grpc_options={"port": cluster.port, "grpc_servicer_functions": [_SERVICES]},
        # Nobody asks by HTTP. Serve listens all the same, and so only where nobody else comes.
        http_options={"host": "127.0.0.1", "port": cluster.port + 1},
        config=_of_a_replica(config),
        warnings=tuple(_warnings(config)),
    )


def _warnings(config: Config) -> Iterator[str]:
    yield (
        f"port {config.cluster.port} of every machine: {'tokens, ' if config.server.token_file else ''}audio and text "
        "are sent unencrypted; a proxy such as Envoy before it encrypts them"
    )
    for key in ("wyoming", "openai"):
        if getattr(config.adapters, key):
            yield f"adapters.{key}: a cluster answers Riva's clients only; this protocol wants a daemon of its own"
    if config.metrics.listen:
        yield "metrics.listen: a cluster's figures are told by Ray's own metrics; nothing listens there"


def _of_a_replica(config: Config) -> Config:
    """On a machine with many replicas one must not take all cores for itself."""
    if config.device.threads:
        return config
    return replace(config, device=replace(config.device, threads=max(1, int(config.cluster.cpus))))
