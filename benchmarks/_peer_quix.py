"""The peers' job with Quix Streams, as its documentation recommends: a StreamingDataFrame, its State, its RedisSink.

`apply(..., stateful=True)` keeps each user in its State (RocksDB and a changelog topic); without `keeps_state` users
are in a dictionary. Scores go to its RedisSink, which writes them with each checkpoint; crossings with `to_topic`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from quixstreams import Application, State
from quixstreams.sinks.community.redis import RedisSink

from benchmarks._live_traffic import live_catalog
from benchmarks._peer_job import Answer, Crossing, Customer, PeerJob
from benchmarks._peer_program import CAUSE, Counter, Given, read_given

_USER = "user"


def application(given: Given, counter: Counter, job: PeerJob) -> Application:
    """The whole pipeline; `run` starts it."""
    app = Application(
        broker_address=given.bootstrap,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        state_dir=given.folder,
        on_message_processed=lambda _topic, _partition, _offset: counter.add(1),
        loglevel="ERROR",
    )
    events = app.topic(given.topic, key_deserializer="str", value_deserializer="bytes")
    crossings = app.topic(given.crossings, key_serializer="str", value_serializer="bytes")
    frame = app.dataframe(events)
    frame = frame.apply(_with_state(job), stateful=True) if given.keeps_state else frame.apply(_with_dictionary(job))
    frame.sink(
        RedisSink(
            host="",
            port=0,
            db=0,
            unix_socket_path=given.store,
            key_serializer=lambda key, _answer: f"scores:{key}",
            value_serializer=lambda answer: answer.scores,
        )
    )
    found = frame.apply(lambda answer: answer.crossings, expand=True)
    found = found.set_headers(_cause).apply(lambda crossing: crossing.value)
    found.to_topic(crossings)
    return app


def _cause(crossing: Crossing, *_: Any) -> list[tuple[str, bytes]]:
    return [(CAUSE, crossing.cause.encode())]


def _with_state(job: PeerJob) -> Any:
    """State holds what JSON can hold."""

    def score(raw: bytes, state: State) -> Answer:
        kept = state.get(_USER)
        customer = None if kept is None else msgspec.convert(kept, Customer)
        customer, answer = job.take(customer, job.decode(raw))
        state.set(_USER, msgspec.to_builtins(customer))
        return answer

    return score


def _with_dictionary(job: PeerJob) -> Any:
    customers: dict[str, Customer] = {}

    def score(raw: bytes) -> Answer:
        record = job.decode(raw)
        customers[record.user_id], answer = job.take(customers.get(record.user_id), record)
        return answer

    return score


def main() -> None:
    """What `benchmarks.peers` starts; SIGTERM ends it with a last checkpoint."""
    job = PeerJob(live_catalog())
    given, counter = read_given()
    application(given, counter, job).run()


if __name__ == "__main__":
    main()
