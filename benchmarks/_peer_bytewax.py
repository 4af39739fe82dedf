"""The peers' job with Bytewax, as its documentation recommends: KafkaSource, `stateful_map`, two outputs.

State is in memory, as it is where no recovery store is asked for; that is kinder than what a service would need. Its
own connector of Redis has a commercial licence, so scores go to a sink written as its guide to custom connectors has
it: each batch that the dataflow hands over is one pipeline. There is one worker.

`stateful_map` takes the events of a batch user by user, so the models learn in another order than the topic's. For a
check (`in_order`) batches are of one event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
import redis
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from benchmarks._live_traffic import live_catalog
from benchmarks._peer_job import Answer, Customer, PeerJob
from benchmarks._peer_program import CAUSE, Counter, Given, read_given
from benchmarks._plain_parts import Record


class _ScoresPartition(StatelessSinkPartition[Any]):  # type: ignore[misc]  # its package is not in this environment
    def __init__(self, given: Given, counter: Counter) -> None:
        self._client = redis.Redis(unix_socket_path=given.store)
        self._counter = counter

    def write_batch(self, items: list[tuple[str, Answer]]) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for user, answer in items:
                pipeline.set(f"scores:{user}", answer.scores)
            pipeline.execute()
        self._counter.add(len(items))

    def close(self) -> None:
        self._client.close()


class _Scores(DynamicSink[Any]):  # type: ignore[misc]  # likewise
    def __init__(self, given: Given, counter: Counter) -> None:
        self._given = given
        self._counter = counter

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _ScoresPartition:  # noqa: ARG002
        return _ScoresPartition(self._given, self._counter)


def dataflow(given: Given, counter: Counter, job: PeerJob) -> Dataflow:
    """The whole of it."""

    def keyed(message: KafkaSourceMessage[Any, bytes]) -> tuple[str, Record]:
        record = job.decode(message.value)
        return record.user_id, record

    def score(customer: Customer | None, record: Record) -> tuple[Customer, Answer]:
        return job.take(customer, record)

    flow = Dataflow("peer")
    brokers, topics = [given.bootstrap], [given.topic]
    source: Any = (
        KafkaSource(brokers, topics, tail=False, batch_size=1) if given.in_order else KafkaSource(brokers, topics)
    )
    records = op.map("keyed", op.input("events", flow, source), keyed)
    answers = op.stateful_map("score", records, score)
    crossings = op.flat_map("crossings", answers, _messages)
    op.output("to_kafka", crossings, KafkaSink(brokers, given.crossings))
    op.output("to_redis", answers, _Scores(given, counter))
    return flow


def _messages(item: tuple[str, Answer]) -> Iterable[KafkaSinkMessage[bytes, bytes]]:
    user, answer = item
    return [
        KafkaSinkMessage(user.encode(), crossing.value, headers=[(CAUSE, crossing.cause.encode())])
        for crossing in answer.crossings
    ]


def main() -> None:
    """What `benchmarks.peers` starts."""
    job = PeerJob(live_catalog())
    given, counter = read_given()
    cli_main(dataflow(given, counter, job))


if __name__ == "__main__":
    main()
