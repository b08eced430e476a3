"""What Serve is asked for, by the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parakeetd.cluster.plan import plan
from parakeetd.config import Config, Paths, read_config
from parakeetd.errors import ConfigError


def configured(folder: Path, text: str, guard: str = "insecure_remote = true") -> Config:
    file = folder / "config.toml"
    file.write_text(f"[server]\n{guard}\n{text}")
    return read_config(file, Paths.from_environment({"HOME": str(folder)}))


def actor(config: Config) -> dict[str, Any]:
    asked: dict[str, Any] = plan(config).options["ray_actor_options"]
    return asked


def test_a_replica_never_gets_more_streams_than_its_limit_and_grows_before(tmp_path: Path) -> None:
    options = plan(configured(tmp_path, "[limits]\nmax_streams = 40")).options
    assert options["max_ongoing_requests"] == 40
    assert options["autoscaling_config"]["target_ongoing_requests"] == 30


def test_how_many_replicas_and_when_comes_from_the_file(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        "[cluster]\nmin_replicas = 2\nmax_replicas = 9\ntarget_streams = 5\ngrow_seconds = 3\nshrink_seconds = 4\n"
        "max_waiting = 7\ndrain_seconds = 11",
    )
    options = plan(config).options
    assert options["autoscaling_config"] == {
        "min_replicas": 2,
        "initial_replicas": 2,
        "max_replicas": 9,
        "target_ongoing_requests": 5,
        "upscale_delay_s": 3.0,
        "downscale_delay_s": 4.0,
    }
    assert (options["max_queued_requests"], options["graceful_shutdown_timeout_s"]) == (7, 11.0)


def test_two_replicas_may_share_a_gpu(tmp_path: Path) -> None:
    assert actor(configured(tmp_path, "[cluster]\ngpus = 0.5\ncpus = 2")) == {
        "num_cpus": 2.0,
        "num_gpus": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("[cluster]\ncpus = 0.5", 1),
        ("[cluster]\ncpus = 4", 4),
        ("[device]\nthreads = 3\n[cluster]\ncpus = 8", 3),
    ],
)
def test_a_replica_uses_as_many_threads_as_it_has_cores(tmp_path: Path, text: str, threads: int) -> None:
    assert plan(configured(tmp_path, text)).config.device.threads == threads


@pytest.mark.parametrize(("key", "location"), [("every-node", "EveryNode"), ("head", "HeadOnly")])
def test_proxies_are_where_they_are_wanted(tmp_path: Path, key: str, location: str) -> None:
    planned = plan(configured(tmp_path, f'[cluster]\nproxies = "{key}"\nport = 7000'))
    assert planned.proxy_location == location
    assert planned.grpc_options["port"] == 7000


def test_nothing_but_the_proxies_for_grpc_is_reached_from_elsewhere(tmp_path: Path) -> None:
    assert plan(configured(tmp_path, "")).http_options["host"] == "127.0.0.1"


def test_proxies_that_nothing_guards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"port 50051 of every address .* set server.token_file"):
        plan(configured(tmp_path, "", guard=""))


def test_tokens_guard_them_and_the_owner_is_told_that_they_travel_unencrypted(tmp_path: Path) -> None:
    planned = plan(configured(tmp_path, "", guard=f'token_file = "{tmp_path}/tokens"'))
    assert ["unencrypted" in warning for warning in planned.warnings] == [True]


def test_the_owner_is_told_of_addresses_at_which_a_cluster_will_not_listen(tmp_path: Path) -> None:
    adapters = '[adapters]\nopenai = "127.0.0.1:8000"\nwyoming = "127.0.0.1:10300"\n'
    config = configured(tmp_path, f'{adapters}[metrics]\nlisten = "127.0.0.1:9090"')
    _, *warnings = plan(config).warnings
    named = [warning.partition(":")[0] for warning in warnings]
    assert named == ["adapters.wyoming", "adapters.openai", "metrics.listen"]


def test_a_certificate_is_refused_for_serve_cannot_encrypt(tmp_path: Path) -> None:
    config = configured(tmp_path, '[tls]\ncertificate = "/a.pem"\nkey = "/b.pem"')
    with pytest.raises(ConfigError, match=r"tls\.certificate: Ray Serve's proxy cannot encrypt"):
        plan(config)


def test_a_target_above_the_limit_would_never_be_reached_and_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, "[cluster]\ntarget_streams = 33")
    with pytest.raises(
        ConfigError, match=r"cluster\.target_streams must be at most limits\.max_streams = 32, not 33"
    ):
        plan(config)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = 0", "cluster.port must be 1 to 65534, not 0"),
        ("min_replicas = 0", "cluster.min_replicas must be at least 1, not 0"),
        ("min_replicas = 5", "cluster.max_replicas must be at least cluster.min_replicas = 5, not 4"),
        ("max_waiting = 0", "cluster.max_waiting must be at least 1, not 0"),
        ("gpus = -1", "cluster.gpus must be 0 or more, not -1"),
        ("gpus = 1.5", "cluster.gpus above 1 must be a whole number, not 1.5"),
        ('proxies = "some"', "cluster.proxies must be one of 'every-node', 'head', not 'some'"),
    ],
)
def test_a_value_that_cannot_be_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(tmp_path, f"[cluster]\n{text}")
    assert problem in str(refused.value)
