"""What is wrong with the copies of a topic, from what Kafka says of its partitions."""

from __future__ import annotations

from typing import Any

import pytest

from streams.adapters.kafka_copies import CopiesFound, compare_copies


def partition(number: int, leader: int, replicas: list[int], in_sync: list[int]) -> dict[str, Any]:
    return {"partition_index": number, "leader_id": leader, "replica_nodes": replicas, "isr_nodes": in_sync}


def found(least: int, *partitions: dict[str, Any]) -> CopiesFound:
    return compare_copies("events", "tl.events", partitions, {"min.insync.replicas": str(least)})


@pytest.mark.parametrize(("least", "brokers"), [(1, [1]), (1, [1, 2]), (2, [1, 2, 3]), (2, [1, 2, 3, 4])])
def test_what_is_as_it_has_to_be_is_not_told(least: int, brokers: list[int]) -> None:
    whole = found(least, *(partition(number, 1, brokers, brokers) for number in range(3)))
    assert (whole.failing, whole.risks) == ((), ())


def test_a_partition_without_a_leader_is_told_with_its_brokers() -> None:
    well = partition(0, 1, [1, 2, 3], [1, 2, 3])
    told = found(2, well, partition(4, -1, [4, 5, 6], [5]))
    assert len(told.failing) == 1
    assert "partition 4" in told.failing[0]
    assert "broker 4, 5, 6" in told.failing[0]
    assert told.risks == ()


def test_fewer_copies_in_sync_than_a_write_waits_for_take_nothing() -> None:
    told = found(2, partition(0, 1, [1, 2, 3], [1]), partition(1, 2, [1, 2, 3], [2, 3]))
    assert len(told.failing) == len(told.risks) == 1
    assert "partition 0 " in told.failing[0]
    assert "broker 2, 3" in told.failing[0]
    assert "partition 1 " in told.risks[0]
    assert "broker 1)" in told.risks[0]


def test_more_than_there_are_can_never_be_in_sync() -> None:
    told = found(2, partition(0, 1, [1], [1]))
    assert len(told.failing) == 1
    assert "min.insync.replicas=1" in told.failing[0]
    assert told.risks == ()


def test_three_copies_of_which_one_is_enough_are_a_risk_with_what_to_do() -> None:
    (risk,) = found(1, partition(0, 1, [1, 2, 3], [1, 2, 3])).risks
    assert "--entity-name tl.events --add-config min.insync.replicas=2" in risk


def test_copies_of_which_none_may_be_away_are_a_risk() -> None:
    (risk,) = found(3, partition(0, 1, [1, 2, 3], [1, 2, 3])).risks
    assert "no broker may be away" in risk


def test_of_many_partitions_some_are_named() -> None:
    (words,) = found(1, *(partition(number, -1, [1], [1]) for number in range(12))).failing
    assert "partitions 0, 1, 2, 3, 4 and 7 more" in words
