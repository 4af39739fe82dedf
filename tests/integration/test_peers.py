"""Plain Faust in the benchmark against peers says what the plain job says, bit by bit.

The packages of the other programs are in an environment that only benchmarks need (`make peers`), so they are held
against the plain job by the benchmark, before each is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks._live_traffic import LiveScript, LiveShop, Place, answer_of, produce_days
from benchmarks._peers import PEERS, Job, Peer, check_same, create_topics
from streams.adapters.valkey_server import EmbeddedValkey
from tests.integration.kafka_world import KafkaWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a process that starts slowly on a busy machine

SCRIPT = LiveScript(users=120, now_day=1, now_s=1_790_000_000.0)
EVENTS = 1_500


@pytest.fixture(scope="module")
def records() -> list[bytes]:
    shop = LiveShop(SCRIPT, 1)
    found: list[bytes] = []
    while len(found) < EVENTS:
        found += [record for _, _, record in shop.keyed(shop.next_day())]
    return found[:EVENTS]


@pytest.fixture(scope="module")
def topic(kafka_world: KafkaWorld) -> Place:
    """The records in one partition."""
    place = Place(kafka_world.bootstrap, f"peers.{time.time_ns()}", 1)
    create_topics(kafka_world.settings(), [place])
    sent, _ = answer_of(produce_days, place, SCRIPT, 0, 99, EVENTS)
    assert sent == EVENTS
    return place


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    with EmbeddedValkey(tmp_path / "store") as server:
        yield server.url


@pytest.mark.parametrize("peer", [peer for peer in PEERS if not peer.is_apart], ids=lambda peer: peer.key)
def test_a_program_says_what_the_plain_job_says(
    peer: Peer, kafka_world: KafkaWorld, topic: Place, records: list[bytes], store: str, tmp_path: Path
) -> None:
    crossings = Place(topic.bootstrap, f"{topic.topic}.{peer.key}", 1)
    settings = kafka_world.settings()
    create_topics(settings, [crossings])
    compared = check_same(peer, Job(topic, crossings, store), records, tmp_path / "program", settings)
    assert compared > 200
