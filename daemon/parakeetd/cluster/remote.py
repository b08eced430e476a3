"""Deploys to a Ray cluster, asks it, and takes away what was deployed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# Before Ray is imported: it reads them then. Nothing that our commands start or join tells anybody about itself.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException

from parakeetd.cluster.ledger import ClusterStanding, Entry
from parakeetd.cluster.plan import APPLICATION, Plan
from parakeetd.cluster.replica import LEDGER, LedgerKeeper, Replica
from parakeetd.errors import CallFailed

_TELL_SECONDS: Final = 10.0
"""For the ledger to answer."""
_REACH_SECONDS: Final = 5.0


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Be a part of a cluster meanwhile.

    Args:
        address: of its head, HOST:PORT, or `ray://HOST:PORT`; empty for the cluster of this machine.

    Raises:
        CallFailed: there is none, or Ray failed.
    """
    if address:
        _check_reached(address)
    try:
        ray.init(address=address or "auto", namespace=APPLICATION, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        if address:
            raise CallFailed(f"no Ray cluster answers at {address}: {_line(error)}") from error
        raise CallFailed(
            "this machine is part of no Ray cluster: start one with: ray start --head --disable-usage-stats, "
            "or name one with --address"
        ) from error
    try:
        yield
    except (RayError, RayServeException, RuntimeError) as error:
        raise CallFailed(f"Ray failed: {_line(error)}") from error
    finally:
        ray.shutdown()


def deploy(plan: Plan, models: Path | None) -> None:
    """Put this in the place of what is deployed, if anything is, and wait until it serves. Replicas are replaced one
    after the other; each finishes its streams.

    Raises:
        CallFailed: it does not come up; what was there goes on as far as it has not been replaced.
    """
    serve.start(
        proxy_location=plan.proxy_location, grpc_options=plan.grpc_options, http_options=plan.http_options
    )
    ray.remote(LedgerKeeper).options(
        name=LEDGER,
        namespace=APPLICATION,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
    ).remote()
    application = serve.deployment(Replica, **plan.options).bind(plan.config, models)
    # The proxies only know applications that have a route, which nobody can call.
    try:
        serve.run(application, name=APPLICATION, route_prefix=f"/{APPLICATION}")
    except RuntimeError as error:
        # Serve only says that it failed; why is with the deployment.
        standing = status()
        raise CallFailed(f"not deployed: {standing.message if standing else _line(error)}") from error


def status() -> ClusterStanding | None:
    """How it stands; None when nothing is deployed."""
    told = serve.status()
    application = told.applications.get(APPLICATION)
    if application is None:
        return None
    deployment: Any = application.deployments.get(APPLICATION)
    entries = _entries()
    return ClusterStanding(
        str(application.status.value),
        (_last_line(deployment.message) if deployment else "") or _last_line(application.message),
        {node: str(proxy.value) for node, proxy in told.proxies.items()},
        {}
        if deployment is None
        else {str(state): count for state, count in deployment.replica_states.items()},
        tuple(entries),
    )


def _entries() -> list[Entry]:
    """What the ledger has. Ray begins it anew elsewhere when its machine is lost, which takes some seconds."""
    patience = time.monotonic() + _TELL_SECONDS
    while True:
        try:
            ledger = ray.get_actor(LEDGER, namespace=APPLICATION)
            entries: list[Entry] = ray.get(ledger.entries.remote(), timeout=_TELL_SECONDS)
            return entries
        except ValueError:
            return []
        except RayActorError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.5)


def remove() -> bool:
    """Take it away, streams have their time to end. False when nothing was deployed."""
    if APPLICATION not in serve.status().applications:
        return False
    serve.delete(APPLICATION)
    ray.kill(ray.get_actor(LEDGER, namespace=APPLICATION))
    if not serve.status().applications:
        # Nobody else's: the proxies go too.
        serve.shutdown()
    return True


def _check_reached(address: str) -> None:
    """Ray itself tries for minutes, and says so by the line.

    Raises:
        CallFailed: nobody answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _REACH_SECONDS):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise CallFailed(f"no Ray cluster answers at {address} (--address HOST:PORT): {error}") from error


def _line(error: BaseException) -> str:
    return _last_line(str(error)) or type(error).__name__


def _last_line(text: str) -> str:
    """Of what Ray says, which is often a traceback, what was raised."""
    return text.strip().splitlines()[-1].strip() if text.strip() else ""
