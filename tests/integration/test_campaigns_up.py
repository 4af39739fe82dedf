"""Campaigns in `tideline up`: an event crosses a line, and a signed message arrives once."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks._ports import free_port
from streams.adapters.valkey_server import running_server
from streams.campaigns.effects import SENT
from tests.integration.campaigns_world import (
    CATALOG,
    HookReceiver,
    enter,
    is_signed,
    notes,
    set_hook,
    without_campaigns,
)
from tests.integration.kill_world import client_of
from tests.integration.up_world import Up, pids
from tests.integration.worker_world import await_until


@contextmanager
def running(data_dir: Path, text: str = CATALOG) -> Iterator[Up]:
    catalog = data_dir / "catalog.yaml"
    catalog.write_text(text)
    up = Up(data_dir, free_port(), str(catalog), env={**os.environ, "TIDELINE_WEBHOOKS_PRIVATE": "true"})
    try:
        up.wait_for("tail segment-events")
        yield up
    finally:
        up.close()


CAMPAIGN = {
    "id": "hello",
    "name": "Hello",
    "segment": "entered",
    "conversion": {"event": "Order"},
    "channels": ["hook", "lines"],
    "control": 0,
    "message": {
        "parts": {"body": "Hello {{ user.name }}: {{ recommendations[0].name }}"},
        "recommendations": {"from": "shop"},
    },
}


@pytest.mark.timeout(240)
def test_a_campaign_that_is_made_over_http_sends(tmp_path: Path) -> None:
    """Channel, secret, campaign and events: all of it over HTTP. Recommendations are asked for, and who has opted out
    before anybody knew what that is called gets nothing.
    """
    with HookReceiver() as receiver, running(tmp_path, without_campaigns(CATALOG)) as up:
        key = re.search(r"tl_admin_\S+", "".join(up.said))
        assert key is not None
        with client_of(up.api, key[0]) as client:
            client.track("bo", "Opted Out")
            asks = {"consent": {"withdrawn": "Opted Out"}}
            kinds = {"hook": "webhook", "shop": "webhook", "lines": "log"}
            channels = {id_: {"kind": kind} | (asks if id_ != "shop" else {}) for id_, kind in kinds.items()}
            client.edit_messaging({"holdout": 0, "channels": channels}, client.messaging().etag)
            settings = {"kind": "webhook", "url": receiver.url}
            shown = client.call("setChannel", {"channel_id": "hook"}, body={"settings": settings})
            of_shop = client.call("setChannel", {"channel_id": "shop"}, body={"settings": settings})
            client.create_campaign("campaign", CAMPAIGN)
            receiver.answer = b'[{"name": "Shoes"}]'

            def figures() -> dict[str, Any]:
                found: dict[str, Any] = client.call("getCampaignFigures", {"campaign_id": "hello"})
                return found

            await_until(lambda: figures()["reading"] is None, "what was before is read", seconds=60.0)
            client.identify("ann", {"name": "Ann"})
            for user in ("ann", "bo"):
                client.track(user, "Enter")
            receiver.wait(lambda: len(receiver.taken) == 2)
            (asked, told), (headers, body) = receiver.taken
            assert is_signed(asked, told, of_shop["secret"])
            assert (json.loads(told)["user_id"], asked["webhook-id"]) == ("ann", f"ask-{headers['webhook-id']}")
            assert is_signed(headers, body, shown["secret"])
            assert json.loads(body)["data"]["texts"] == {"body": "Hello Ann: Shoes"}
            await_until(lambda: figures()["withheld"] == {"consent": 1}, "Bo gets nothing", seconds=60.0)

            def arrived() -> bool:
                return bool(client.call("getChannel", {"channel_id": "hook"})["counts"].get("arrived"))

            await_until(arrived, "it is counted", seconds=30.0)
        assert up.stop() == 0


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
        assert {user: len(ids) for user, ids in receiver.ids().items()} == {"ann": 1, "bo": 1}, (
            "a repeat has the same id"
        )
        lines = tmp_path / "campaigns.log"
        await_until(lambda: " of welcome to bo" in lines.read_text(), "the other channel has it, too", seconds=30.0)
        assert up.stop() == 0
    assert notes(tmp_path) == [("ann", SENT), ("bo", SENT)]
    assert " of welcome to ann" in lines.read_text()
    assert pids(f"streams campaigns .*--data-dir {tmp_path}") == []
