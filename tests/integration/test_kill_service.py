"""kill -9 of the API, the worker, the sender of webhooks and the store at random moments, while events come in.

Every answered event is scored once, every definition that was answered is there, and every transition reaches the
webhook under one id. `TIDELINE_TEST_KILL_SEED` runs one schedule again; without it every run has another, and CI one.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks._ports import free_port
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.client import ApiError, Client
from tests.integration.kill_world import PREDICTION_AT, USERS, Definer, Receiver, Shop, client_of
from tests.integration.up_world import Up, pids
from tests.integration.worker_world import await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLS_OF_EACH = 2
QUIET_S = 3.0
"""Where no transition comes for so long, none is on its way: a new segment is judged within a second."""
CATALOG = """
version: 1
name: Killed
features: {events: [Order Completed]}
predictions:
  orders_7d: {name: Orders within 7 days, goal: {did: Order Completed}, window: 7d}
segments:
  bought: {name: Has ordered, filter: {event: Order Completed, count: {min: 1}}}
"""


def seed() -> int:
    given = os.environ.get("TIDELINE_TEST_KILL_SEED")
    if given is not None:
        return int(given)
    return 1 if os.environ.get("CI") else random.SystemRandom().randrange(1_000_000)


def kill_parts(up: Up, data_dir: Path, port: int) -> None:
    """Each part so many times, in any order, also while others are still coming back."""
    number = seed()
    print(f"TIDELINE_TEST_KILL_SEED={number}")  # noqa: T201  shown where it fails
    chance = random.Random(number)
    parts = {
        "API": f"streams api .*--data-dir {data_dir}",
        "worker": f"streams worker .*--port {port} ",
        "sender of webhooks": f"streams deliver .*--data-dir {data_dir}",
        "store": f"valkey-server.*{data_dir}",
    }
    schedule = [name for name in parts for _ in range(KILLS_OF_EACH)]
    chance.shuffle(schedule)
    pause = threading.Event()
    for name in schedule:
        pause.wait(chance.uniform(0.2, 2.0))
        await_until(lambda name=name: bool(pids(parts[name])), f"the {name} runs", seconds=120.0)  # type: ignore[misc]
        pause.wait(chance.uniform(0.0, 1.0))
        for pid in pids(parts[name]):
            with suppress(ProcessLookupError):  # it ends by itself, too, where another part is away for long
                os.kill(pid, signal.SIGKILL)
        up.wait_for(f"The {name} (has ended|does not start)")  # it may have been about to start
        if chance.random() < 0.5:
            up.wait_for(f"The {name} runs again")


def transitions(data_dir: Path) -> dict[str, bytes]:
    """Everything in their log, by id."""
    log, found = LogFolder.find(data_dir), dict[str, bytes]()
    for number in range(log.shards):
        reader = PartitionReader(log.partition("segment-events", number))
        for entry in reader.read(0, 1_000_000, 1 << 30):
            id_ = json.loads(entry.value)["id"]
            assert found.setdefault(id_, entry.value) == entry.value
        reader.close()
    return found


def orders(client: Client, user: str) -> int:
    """How many were scored."""
    try:
        events = client.user(user)["events"]
    except ApiError as error:
        if error.status in (404, 503):  # not scored yet; the store comes back
            return 0
        raise
    return sum(int(each["total"]) for each in events)


def test_nothing_that_was_answered_is_lost_or_counted_twice(tmp_path: Path) -> None:
    data_dir, port = tmp_path / "data", free_port()
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    environment = {**os.environ, "TIDELINE_WEBHOOKS_PRIVATE": "true"}
    up = Up(data_dir, port, str(tmp_path / "catalog.yaml"), env=environment)
    try:
        key = up.wait_for(r"^ +(tl_admin_\S+)")[1]
        up.wait_for("tail segment-events")
        with Receiver() as receiver, client_of(up.api, key) as client:
            receiver.secret = client.call("createWebhook", body={"url": receiver.url})["secret"]
            shop, definer = Shop(up.api, key), Definer(up.api, key)
            shop.start()
            definer.start()
            kill_parts(up, data_dir, port)
            await_until(lambda: len(definer.answered) > PREDICTION_AT, "enough is defined", seconds=120.0)
            await_until(lambda: len(shop.answered) == USERS, "everybody has ordered", seconds=120.0)
            definer.end()
            shop.end()
            check_scores(client, shop)
            check_definitions(client, definer)
            check_deliveries(data_dir, receiver)
        assert up.stop() == 0
    finally:
        up.close()


def check_scores(client: Client, shop: Shop) -> None:
    """Each answered event counts, once."""
    counted: Counter[str] = Counter()
    for user, answered in shop.answered.items():

        def is_scored(user: str = user, answered: int = answered) -> bool:
            counted[user] = orders(client, user)
            return counted[user] >= answered

        await_until(is_scored, f"{user} is scored", seconds=120.0)
    assert counted == shop.answered


def check_definitions(client: Client, definer: Definer) -> None:
    """Each is as it was answered last, and shards work with those that are not archived."""
    for (kind, id_), (definition, is_archived) in definer.answered.items():
        found = client.definition(kind, id_).data
        assert (found["definition"], found["archived"]) == (definition, is_archived)
    made = {what for what, (_, is_archived) in definer.answered.items() if not is_archived}

    def all_known() -> bool:
        segments = {("segment", each["id"]) for each in client.segments()}
        return made <= segments | {("prediction", each["id"]) for each in client.predictions()}

    await_until(all_known, "shards know them", seconds=60.0)


def check_deliveries(data_dir: Path, receiver: Receiver) -> None:
    """The webhook has every transition of the log, each crossing under one id, in sequences without a gap."""
    logged = dict[str, bytes]()

    def all_came() -> bool:
        """And nothing more comes: members of the segment that was made last are told while this looks."""
        nonlocal logged
        before, logged = logged, transitions(data_dir)
        return len(before) == len(logged) and set(receiver.received) >= set(logged)

    await_until(all_came, "every transition is delivered", seconds=180.0, every_s=QUIET_S)
    assert receiver.wrong == []
    assert receiver.received == logged
    crossings = receiver.crossings()
    assert all(len(ids) == 1 for ids in crossings.values())
    latest: dict[tuple[str, str], int] = {}
    for user, segment, sequence in crossings:
        latest[user, segment] = max(sequence, latest.get((user, segment), 0))
    assert sum(latest.values()) == len(crossings)
    assert sum(re.fullmatch("bought", segment) is not None for _, segment in latest) == USERS
