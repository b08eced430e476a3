"""What replicas tell of themselves, kept and added up."""

from __future__ import annotations

from parakeetd.cli.cluster import lines
from parakeetd.cluster.ledger import SILENT_SECONDS, ClusterStanding, Entry, Ledger
from parakeetd.rpc.standing import Standing


def entry(name: str, *, node: str = "10.0.0.1", streams: int = 0, taken: int = 0, refused: int = 0) -> Entry:
    standing = Standing("serving", "serving demo on CPU", streams=streams, max_streams=32)
    return Entry(name, node, "f00", standing, taken, refused)


def test_the_last_that_a_replica_told_counts() -> None:
    ledger = Ledger()
    ledger.note(entry("a", streams=1), 0.0)
    ledger.note(entry("a", streams=5), 1.0)
    assert [told.standing.streams for told in ledger.entries(2.0)] == [5]


def test_a_replica_that_falls_silent_is_gone() -> None:
    ledger = Ledger()
    ledger.note(entry("dead"), 0.0)
    ledger.note(entry("lives"), SILENT_SECONDS)
    assert [told.replica for told in ledger.entries(SILENT_SECONDS)] == ["lives"]


def test_a_replica_that_ends_is_gone_at_once_and_one_that_is_not_known_may_end() -> None:
    ledger = Ledger()
    ledger.note(entry("a"), 0.0)
    ledger.forget("a")
    ledger.forget("never seen")
    assert ledger.entries(0.0) == []


def test_replicas_stand_together_by_machine() -> None:
    ledger = Ledger()
    for name, node in (("c", "10.0.0.1"), ("a", "10.0.0.2"), ("b", "10.0.0.1")):
        ledger.note(entry(name, node=node), 0.0)
    assert [told.replica for told in ledger.entries(0.0)] == ["b", "c", "a"]


def test_the_cluster_is_the_sum_of_its_replicas() -> None:
    replicas = (entry("a", streams=3, taken=10, refused=1), entry("b", streams=4, taken=20, refused=2))
    standing = ClusterStanding("RUNNING", "", {}, {"RUNNING": 2}, replicas)
    told = standing.as_json()
    assert (told["streams"], told["places"], told["taken"], told["refused"]) == (7, 64, 30, 3)
    assert "7 of 64 streams are open" in list(lines(standing))


def test_what_serve_says_of_a_deployment_that_does_not_come_up_stands_first() -> None:
    standing = ClusterStanding("DEPLOY_FAILED", "model 'x' is not installed", {}, {}, ())
    assert next(lines(standing)) == "DEPLOY_FAILED: no replicas; model 'x' is not installed"
