"""The first time in the console, all of it in a browser: from a prediction to a message that has arrived."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks._ports import free_port
from streams.adapters.embedded_log import EventWriter
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.api.keys import Role
from streams.client import ApiError, Client
from tests.conftest import SLOWNESS
from tests.integration import shop_world
from tests.integration.campaigns_world import HookReceiver, is_signed
from tests.integration.console_world import Viewer, browser
from tests.integration.kill_world import client_of
from tests.integration.up_world import Up
from tests.integration.worker_world import await_until

pytestmark = pytest.mark.timeout(240)
SHARDS = 2
PREDICTION = "Orders within <3> days"
CATALOG = """
version: 1
name: Shop
features: {events: [Viewed, Order Completed], value: revenue, traits: [country]}
history: [Viewed]
predictions:
  views_1d: {name: Looks within a day, goal: {did: Viewed}, window: 1d}
"""
PATIENCE_S = 60.0 * SLOWNESS


@dataclass(frozen=True)
class Service:
    """Where it is, and a key of each role that is used."""

    url: str
    keys: dict[Role, str]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """`tideline up` over six weeks of a shop, which end now; a prediction has learned from all of it."""
    moved = timedelta(seconds=datetime.now(UTC).timestamp() - shop_world.START_S - shop_world.DAYS * 86_400)
    records = []
    for event in shop_world.events():
        time = datetime.fromisoformat(event["timestamp"]) + moved
        records.append((event["userId"], json.dumps({**event, "timestamp": time.isoformat()}).encode()))
    with closing(EventWriter(LogFolder.make(tmp_path / LOG_FOLDER, SHARDS))) as writer:
        writer.append(records)
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)
    up = Up(tmp_path, free_port(), str(catalog), env={**os.environ, "TIDELINE_WEBHOOKS_PRIVATE": "true"})
    try:
        up.wait_for("tail segment-events")
        key = re.search(r"tl_admin_\S+", "".join(up.said))
        assert key is not None
        with client_of(up.api, key[0]) as client:
            new = {"id": "orders_3d", "name": PREDICTION, "goal": {"did": "Order Completed"}, "window": "3d"}
            client.call("createPrediction", body=new)
            await_until(lambda: is_live(client), "it has learned from history", seconds=PATIENCE_S)
            await_until(lambda: in_top_quarter(client) > 0, "everybody has a score", seconds=PATIENCE_S)
        yield Service(up.api, {Role.WRITE: key[0]})
        assert up.stop() == 0
    finally:
        up.close()


def is_live(client: Client) -> bool:
    """Whether the likelihood of the prediction is known."""
    try:
        return bool(client.call("getPrediction", {"prediction_id": "orders_3d"})["status"] == "live")
    except ApiError:
        return False  # no worker has taken it up yet


def in_top_quarter(client: Client) -> int:
    """Users with such scores."""
    return int(client.call("estimateRange", {"prediction_id": "orders_3d"}, {"min": 75, "max": 100})["users"])


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


def drag_low_end(page: Page, by: float) -> None:
    """Drag the lower end of the slider by so many points of the score."""
    box = page.locator("[data-end=low]").bounding_box()
    assert box is not None
    width, low = box["width"] - 22, float(page.locator("[data-end=low]").input_value())
    x, y = box["x"] + 11 + width * low / 100.0, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + width * by / 100.0, y, steps=8)
    page.mouse.up()


def test_from_a_prediction_to_a_message_that_has_arrived(service: Service, chromium: Browser) -> None:
    with HookReceiver() as receiver, Viewer(chromium, service) as viewer:
        page = viewer.open("/predictions")
        page.get_by_role("link", name=PREDICTION).click()
        select_the_top_quarter(page)
        make_a_segment(page)
        secret = set_up_a_webhook(page, receiver.url)
        make_a_campaign(page)
        live = viewer.context.new_page()
        live.goto(f"{service.url}/console/live?segment=top_quarter")
        expect(live.locator("[data-live-state]")).to_have_text("Live")
        with client_of(service.url, service.keys[Role.WRITE]) as client:
            look = {"type": "track", "event": "Viewed", "properties": {"product": "boat"}}
            for _ in range(8):
                client.batch([look | {"userId": f"u{number}"} for number in range(40)])
        expect(live.locator(".crossings tbody tr.entered, .crossings tbody tr .entered").first).to_be_visible(
            timeout=PATIENCE_S * 1_000
        )
        receiver.wait(lambda: bool(receiver.taken))
        headers, body = receiver.taken[0]
        assert is_signed(headers, body, secret)
        told = json.loads(body)["data"]
        assert told["campaign_id"] == "first_words"
        value = re.fullmatch(r"Take (10|5) % off\.", told["texts"]["body"])
        assert value is not None, told
        row = live.locator(".crossings tbody tr", has=live.get_by_role("link", name=told["user_id"], exact=True)).first
        step = 1 if value[1] == "10" else 2
        expect(row).to_contain_text("First words sent by webhook", timeout=PATIENCE_S * 1_000)
        expect(row).to_contain_text(f"Offer {value[1]}% (step {step} of the ladder)")
        live.goto(f"{service.url}/console/users/one?id={told['user_id']}")
        moment = live.locator(".timeline li", has=live.get_by_role("link", name="Top quarter", exact=True)).first
        expect(moment).to_contain_text("First words sent by webhook")
        expect(page.locator("h1")).to_have_text("First words")


def select_the_top_quarter(page: Page) -> None:
    expect(page.locator("[data-told=rank]")).to_have_text("Top 25%")
    users = page.locator("[data-told=users]")
    before = users.inner_text()
    drag_low_end(page, -25.0)
    expect(users).not_to_contain_text("≈")
    expect(users).not_to_have_text(before)
    low = page.locator("[data-end=low]")
    drag_low_end(page, 75.0 - float(low.input_value()))
    off = round(75.0 - float(low.input_value()))  # a point is less than a pixel's rounding
    for _ in range(abs(off)):
        low.press("ArrowRight" if off > 0 else "ArrowLeft")
    expect(page.locator("[data-told=rank]")).to_have_text("Top 25%")
    expect(page).to_have_url(re.compile(r"min=75&max=100$"))


def make_a_segment(page: Page) -> None:
    page.get_by_role("link", name="Create a segment").click()
    page.get_by_label("Name").fill("Top quarter")
    page.get_by_role("button", name="Create a segment").click()
    page.wait_for_url("**/console/segments/top_quarter")
    expect(page.locator(".members tbody tr").first).to_be_visible(timeout=PATIENCE_S * 1_000)


def set_up_a_webhook(page: Page, address: str) -> str:
    """Its secret, which is shown this once."""
    page.get_by_role("link", name="Campaigns").click()
    page.get_by_label("Address that takes the messages").fill(address)
    page.get_by_role("button", name="Set up a webhook").click()
    expect(page.locator("pre")).to_contain_text("whsec_")
    secret = page.locator("pre").inner_text().strip()
    page.get_by_role("link", name="On to the campaigns").click()
    assert secret not in page.content()
    return secret


def make_a_campaign(page: Page) -> None:
    page.get_by_role("link", name=PREDICTION).click()
    page.get_by_role("link", name="Begin with an empty one").click()
    page.get_by_label("Name").fill("First words")
    page.get_by_label("Whom it is for").select_option("top_quarter")
    page.get_by_label("Subject").fill("For you")
    page.get_by_label("Text", exact=True).fill("Take {{ offer.value }} % off.")
    page.get_by_label("A ladder: steps over the score").check()
    page.get_by_label("Value of step 1").fill("10")
    page.get_by_label("Score at which step 2 begins").fill("90")
    page.get_by_label("Value of step 2").fill("5")
    expect(page.locator("[data-drawn]")).to_contain_text("It is for about")
    page.get_by_label("What an order is worth").fill("50")
    expect(page.locator("[data-drawn]")).to_contain_text("it costs")
    page.get_by_label("Control group, in percent").fill("0")
    page.locator("input[name=state][value=on]").check()
    page.get_by_role("button", name="Create the campaign").click()
    page.wait_for_url("**/console/campaigns/first_words")
