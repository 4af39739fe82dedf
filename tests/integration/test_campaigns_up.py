"""Campaigns in `tideline up`: an event crosses a line, and a signed message arrives once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.adapters.valkey_server import running_server
from streams.campaigns.effects import SENT
from tests.integration.campaigns_world import CATALOG, HookReceiver, enter, is_signed, notes, set_hook
from tests.integration.up_world import Up, free_port, pids


@contextmanager
def running(data_dir: Path) -> Iterator[Up]:
    catalog = data_dir / "catalog.yaml"
    catalog.write_text(CATALOG)
    up = Up(data_dir, free_port(), str(catalog), env={**os.environ, "TIDELINE_WEBHOOKS_PRIVATE": "true"})
    try:
        up.wait_for("tail segment-events")
        yield up
    finally:
        up.close()


@pytest.mark.timeout(240)
def test_who_crosses_the_line_gets_a_signed_message_once(tmp_path: Path) -> None:
    with HookReceiver() as receiver, running(tmp_path) as up:
        store = running_server(tmp_path)
        assert store is not None
        set_hook(store, receiver.url)
        enter(tmp_path, ["ann"])
        receiver.wait(lambda: bool(receiver.taken))
        ((headers, body),) = receiver.taken
        assert is_signed(headers, body)
        told = json.loads(body)
        assert (told["type"], told["id"]) == ("tideline.message.v1", headers["webhook-id"])
        assert told["data"]["campaign_id"] == "welcome"
        assert (told["data"]["user_id"], told["data"]["texts"]) == ("ann", {"body": "Hello"})
        (process,) = pids(f"streams campaigns .*--data-dir {tmp_path}")
        os.kill(process, signal.SIGKILL)
        up.wait_for(r"The service of campaigns has ended \(status -9\)")
        enter(tmp_path, ["bo"])
        up.wait_for("The service of campaigns runs again")
        receiver.wait(lambda: "bo" in receiver.users())
        assert receiver.users() == ["ann", "bo"]
        assert up.stop() == 0
    assert notes(tmp_path) == [("ann", SENT), ("bo", SENT)]
    lines = (tmp_path / "campaigns.log").read_text()
    assert all(f" of welcome to {user}" in lines for user in ("ann", "bo"))
    assert pids(f"streams campaigns .*--data-dir {tmp_path}") == []
