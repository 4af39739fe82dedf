"""The job of a worker the plain way: a Faust agent, one event at a time, river models, one write to Redis per event.

`same` is all that a shard says of its users (`_plain_reference.py`): features, looks, ranks, categories, segments,
labels when their window closes. `simple` is what most would write first: the same features and models, and with each
event one `learn_one` per prediction of what the user did next; no looks, no ranks, no segments, no windows.

Both do less than a worker: nothing can go on after a crash, and nothing is published.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import statistics
import sys
import time
from typing import Any, Protocol

import faust
import msgspec
import redis
from faust.app.base import BootStrategy

from benchmarks._live_traffic import LiveScript, LiveShop, Place, live_catalog, rates_of
from benchmarks._plain_parts import Habits, PlainFeatures, Record, plain_pipeline
from benchmarks._plain_reference import PlainShard
from config.catalog import Catalog, Did, DidNot

_STRETCHES = 10
_LEAST_MARKS = 200


class Job(Protocol):
    """What an agent does with a record; the answer is what it stores of the user."""

    def take(self, raw: bytes) -> tuple[str, dict[str, float]]: ...


class SameJob:
    """All that a shard does."""

    def __init__(self, catalog: Catalog) -> None:
        self.shard = PlainShard(catalog)
        self._user_of = msgspec.json.Decoder(Record).decode
        self._names = list(catalog.predictions)

    def take(self, raw: bytes) -> tuple[str, dict[str, float]]:
        """One record, and the likelihoods of its user."""
        self.shard.take(raw)
        self.shard.transitions.clear()
        user = self._user_of(raw).user_id
        said = self.shard.users[user].said
        return user, {name: each.likelihood or 0.0 for name, each in zip(self._names, said, strict=True)}


class SimpleJob:
    """Three models that learn from one event to the next."""

    def __init__(self, catalog: Catalog) -> None:
        self._decode = msgspec.json.Decoder(Record).decode
        self._features = PlainFeatures(catalog)
        self._gap_s = catalog.features.session_gap_s
        self._users: dict[str, Habits] = {}
        self._before: dict[str, dict[str, float]] = {}
        self._models = []
        for name, prediction in catalog.predictions.items():
            goal = prediction.goal
            if not isinstance(goal, Did | DidNot):
                raise NotImplementedError(f"the plain program knows goals of one event only, not {name}")
            self._models.append((name, goal.event, isinstance(goal, Did), plain_pipeline()))

    def take(self, raw: bytes) -> tuple[str, dict[str, float]]:
        """One record, and the likelihoods of its user."""
        record = self._decode(raw)
        id_, time_s = record.user_id, record.timestamp.timestamp()
        user = self._users.get(id_)
        if user is None:
            user = self._users[id_] = Habits(time_s, time_s)
            user.money = [0.0] * len(self._features.halves)
        if record.traits is not None:
            user.traits["country"] = record.traits.country
        before = self._before.get(id_)
        if before is not None:
            for _, wanted, did, model in self._models:
                model.learn_one(before, (record.event == wanted) is did)
        revenue = record.properties.revenue if record.properties is not None else None
        self._features.update(user, record.event, time_s, revenue, self._gap_s)
        self._before[id_] = x = self._features.of(user, user.last_s)
        return id_, {name: model.predict_proba_one(x)[True] for name, _, _, model in self._models}


class _NoWeb(BootStrategy):
    enable_web = False
    enable_sensors = False


class _App(faust.App):
    BootStrategy = _NoWeb

    def _create_directories(self) -> None:
        """Without tables there is nothing to write."""


def warm_job(kind: str, script: LiveScript) -> Job:
    """The job with the days before `script.now_day` behind it, which it was given directly."""
    catalog = live_catalog()
    job: Job = SameJob(catalog) if kind == "same" else SimpleJob(catalog)
    shop = LiveShop(script, 1)
    for _ in range(script.now_day):
        for _, _, raw in shop.keyed(shop.next_day()):
            job.take(raw)
    if isinstance(job, SameJob) and not all(rule.live for rule in job.shard.rules):
        raise RuntimeError("the plain program is not live after its warm-up; give it more events")
    return job


async def run_agent(place: Place, job: Job, store: Any, events: int, group: str) -> list[tuple[float, float]]:
    """Consume the topic from its start until so many events are done. Returns (events, seconds) as it went on."""
    app = _App(
        group,
        broker=f"kafka://{place.bootstrap}",
        consumer_auto_offset_reset="earliest",
        topic_partitions=place.partitions,
        store="memory://",
        autodiscover=False,
    )
    topic = app.topic(place.topic, value_type=bytes, value_serializer="raw", key_serializer="raw")
    marks = []
    done = asyncio.Event()

    @app.agent(topic)
    async def score(stream: Any) -> None:
        taken = 0
        marks.append((0.0, time.perf_counter()))
        async for raw in stream:
            user, likelihoods = job.take(raw)
            store.hset(f"scores:{user}", mapping=likelihoods)
            taken += 1
            if not taken % max(1, events // _LEAST_MARKS) or taken == events:
                marks.append((float(taken), time.perf_counter()))
            if taken == events:
                done.set()

    await app.start()
    await done.wait()
    await app.stop()
    return marks


def main() -> None:
    """What `benchmarks.kafka` starts; it reads one line of JSON, and prints the events per second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._plain_faust", description=__doc__)
    parser.add_argument("kind", choices=["same", "simple"])
    kind = parser.parse_args().kind
    logging.basicConfig(level=logging.ERROR)
    given = json.loads(sys.stdin.readline())
    job = warm_job(kind, LiveScript(**given["script"]))
    gc.collect()
    gc.freeze()
    store = redis.Redis.from_url(given["store"])
    marks = asyncio.run(run_agent(Place(**given["place"]), job, store, given["events"], given["group"]))
    rates = rates_of(marks, _STRETCHES)
    # The first stretch holds Faust's start, in which it joins its group.
    print(json.dumps(statistics.median(rates[1:])))


if __name__ == "__main__":
    main()
