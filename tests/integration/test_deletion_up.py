"""Users of a whole service are deleted, over HTTP and by the command line, and nothing brings them back.

The service is `tideline up`, with its own log and with a Kafka.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks._ports import free_port
from config.settings import load_settings
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.client import ApiError, Client
from streams.runtime.ledger_key import KEY_FILE
from tests.conftest import ROOT
from tests.integration.up_world import Up
from tests.integration.worker_evidence import read_topic
from tests.integration.worker_world import CATALOG, await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_S = 60.0
LIFE = 10_000_000_000
"""Sequences of a life begin so much later than those of the life before."""


class Told(NamedTuple):
    """A transition in the log."""

    id: str
    sequence: int
    data: dict[str, Any]


class Service:
    """One `tideline up` after the other in one directory; `client` of the one that runs."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options
        self._port = free_port()
        self._catalog = folder / "catalog.yaml"
        self._catalog.write_text(CATALOG)
        self._keys: dict[str, str] = {}
        self._environment: dict[str, str] = {}
        self.kafka: str | None = None
        self.client: Client

    @contextmanager
    def running(self, prefix: str = "tl") -> Iterator[None]:
        """With the store below this prefix: another one begins anew, with the log that is there."""
        self._environment = dict(os.environ) | {"TIDELINE_KEY_PREFIX": prefix, "TIDELINE_SHARDS": "2"}
        up = Up(self.folder, self._port, str(self._catalog), *self._options, env=self._environment)
        try:
            if prefix not in self._keys:
                self._keys[prefix] = up.wait_for(r"^ +(tl_admin_\S+)")[1]
            if self._options:
                self.kafka = up.wait_for(r"KAFKA_BOOTSTRAP_SERVERS=(\S+)")[1]
                self._environment["TIDELINE_KAFKA_BOOTSTRAP_SERVERS"] = self.kafka
            up.wait_for("tail segment-events")
            self._environment["TIDELINE_API_KEY"] = self._keys[prefix]
            with Client(up.api, self._keys[prefix]) as self.client:
                yield
            assert up.stop() == 0
        finally:
            up.close()

    def run(self, *args: str) -> tuple[int, str]:
        """A command beside it: its code, and what it says."""
        command = [sys.executable, "-m", "streams", *args]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def traces(self, user: str) -> tuple[int, str]:
        return self.run("traces", user, "--data-dir", str(self.folder))

    def status(self, user: str) -> int:
        """Of the question for a user."""
        try:
            self.client.user(user)
        except ApiError as error:
            return error.status
        return 200

    def is_done(self, user: str, asked_at: str) -> bool:
        try:
            self.client.deletion(user, asked_at)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def in_segment(self, user: str) -> bool:
        """Whether the user has bought, as far as anybody knows."""
        try:
            return any(one["id"] == "buyers" for one in self.client.user(user)["segments"])
        except ApiError as error:
            if error.status not in (404, 410, 503):
                raise
            return False

    def told(self) -> list[Told]:
        """All transitions that are in the log."""
        if self.kafka is not None:
            log = read_topic(load_settings(kafka_bootstrap_servers=self.kafka), "segment-events")
            records = [(dict(record.headers), record.value) for partition in log for record in partition]
            return [
                Told(headers["ce_id"].decode(), int(headers["ce_sequence"]), json.loads(value))
                for headers, value in records
            ]
        folder, found = LogFolder.find(self.folder), list[Told]()
        for number in range(folder.shards):
            reader = PartitionReader(folder.partition("segment-events", number))
            for entry in reader.read(0, 1_000_000):
                event = json.loads(entry.value)
                found.append(Told(event["id"], int(event["sequence"]), event["data"]))
            reader.close()
        return found


def time_text(ago_s: float) -> str:
    return datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat(timespec="milliseconds")


def buy(service: Service, user: str, ago_s: float) -> None:
    # A second before: an event before a deletion is of the life that it has ended.
    service.client.track(user, "Product Viewed", timestamp=time_text(ago_s + 1.0))
    service.client.track(user, "Order Completed", timestamp=time_text(ago_s))


def await_(service: Service, holds: Any, what: str) -> None:
    def words() -> str:
        return (service.folder / "worker.log").read_text()[-3_000:]

    try:
        await_until(holds, what, seconds=PATIENCE_S, every_s=0.2)
    except AssertionError as error:
        raise AssertionError(f"{what}\n{words()}") from error


@pytest.mark.parametrize("options", [(), ("--kafka",)], ids=["embedded", "kafka"])
def test_who_is_deleted_is_gone_through_restart_and_rebuild_and_comes_back_as_somebody_new(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    service = Service(tmp_path, *options)
    with service.running():
        for user in ("ann", "bob", "carol"):
            buy(service, user, 3_600.0)
        await_(service, lambda: all(map(service.in_segment, ("ann", "bob", "carol"))), "all have bought")
        delete_both(service)
        service.client.track("bob", "Order Completed", timestamp=time_text(1_800.0))  # late: it is of his first life
        service.client.track("carol", "Order Completed")
        await_(service, lambda: refused(service) == 1, "the late event is refused")
        assert_gone(service, "ann", "bob")
        assert service.traces("carol")[0] == 1
        assert {t.data["origin"] for t in service.told() if t.data["user_id"] == "bob"} == {"live", "deleted"}
        exits = [t for t in service.told() if t.data["origin"] == "deleted"]
        assert {t.data["user_id"] for t in exits} == {"ann", "bob"}
        assert not any(t.data["in_segment"] or t.sequence % 2 for t in exits)
    assert (tmp_path / KEY_FILE).exists()
    with service.running():
        assert_gone(service, "ann", "bob")
        buy(service, "ann", 0.0)
        await_(service, lambda: service.in_segment("ann"), "somebody new has bought")
        await_(service, lambda: any(is_entry_of(t, "ann") and t.sequence > 1 for t in service.told()), "and is told")
        assert service.status("bob") == 410
        (entry,) = [t for t in service.told() if is_entry_of(t, "ann") and t.sequence > 1]
        assert (entry.sequence, entry.data["entry_count"], entry.data["is_reentry"]) == (LIFE + 1, 1, False)
        known = {t.id for t in service.told()}
    with service.running(prefix="another"):
        await_(service, lambda: all(map(service.in_segment, ("ann", "carol"))), "the log is worked anew")
        await_(
            service,
            lambda: any(is_entry_of(t, "ann") and t.id not in known for t in service.told()),
            "and what follows is told",
        )
        assert_gone(service, "bob")
        anew = [t for t in service.told() if t.id not in known]
        assert {t.sequence for t in anew if t.data["user_id"] == "ann"} >= {LIFE + 1}
        assert not [t for t in anew if t.data["user_id"] == "ann" and t.sequence < LIFE], "her first life is over"
        assert not [t for t in anew if t.data["user_id"] == "bob"]
        events = {one["name"]: one["total"] for one in service.client.user("ann")["events"]}
        assert events == {"Product Viewed": 1, "Order Completed": 1}
        assert len({t.id for t in service.told()}) == len(service.told())


def delete_both(service: Service) -> None:
    asked = service.client.delete_user("ann")
    await_(service, lambda: service.is_done("ann", asked["asked_at"]), "ann is deleted")
    code, said = service.run("delete-user", "bob", "--api", service.client.url, "--json")
    assert code == 0, said
    asked_at = json.loads(said)["asked_at"]
    await_(service, lambda: service.is_done("bob", asked_at), "bob is deleted")


def assert_gone(service: Service, *users: str) -> None:
    for user in users:
        assert service.status(user) == 410
        assert service.client.deletion(user)["lives"] == 1
        code, said = service.traces(user)
        assert code == 0, said
        assert "Nothing in the store names" in said


def is_entry_of(told: Told, user: str) -> bool:
    return told.data["user_id"] == user and told.data["segment_id"] == "buyers" and bool(told.data["in_segment"])


def refused(service: Service) -> int:
    code, said = service.run("dead-letters", "--data-dir", str(service.folder), "--json")
    assert code == 0, said
    return sum(one["count"] for one in json.loads(said)["reasons"] if one["reason"] == "deleted_user")
