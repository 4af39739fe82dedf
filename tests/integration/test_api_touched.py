"""Quality over HTTP, of a service to whose users campaigns have sent messages, or withheld them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.notes import DROPPED, SENT, WITHHELD
from models.examples import TOUCH_SENT, TOUCH_WITHHELD
from models.quality import UNTOUCHED
from streams.api.keys import Role
from tests.integration.service_world import DAYS, START_S, USERS, ServiceWorld, in_batches, service
from tests.unit.api_world import ApiWorld

PATH = "/v1/predictions/orders_2d/quality"
GROUPS = ("untouched", "withheld", "treated")


def messaged_month() -> list[list[dict[str, Any]]]:
    """The same month, with notes: half of the users get a message every five days, and a quarter would have."""
    notes: list[dict[str, Any]] = []
    for user in range(USERS):
        kind = (SENT, DROPPED, SENT, WITHHELD)[user % 4]
        for day in range(6, DAYS, 5):
            at = datetime.fromtimestamp(START_S, UTC) + timedelta(days=day, minutes=user)
            note = {"type": "track", "userId": f"user-{user}", "event": kind, "messageId": f"note-{user}-{day}"}
            notes.append({**note, "timestamp": at.isoformat(), "properties": {"campaign": "c", "version": 1}})
    batches, before = [], datetime.min.replace(tzinfo=UTC)
    for batch in in_batches():
        until = time_of(batch[-1])
        batches.append(sorted([*batch, *(one for one in notes if before < time_of(one) <= until)], key=time_of))
        before = until
    return batches


def time_of(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


@pytest.fixture(scope="module")
def messaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    with service(tmp_path_factory.mktemp("messaged"), batches=messaged_month()) as world:
        yield world


def quality(world: ServiceWorld) -> Any:
    api = ApiWorld(store_url=world.url)
    answer = api.ask("GET", PATH, headers=api.headers(Role.READ))
    api.stored.close()
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_calibration_is_told_apart_by_what_campaigns_did(messaged: ServiceWorld) -> None:
    found = quality(messaged)
    learned = messaged.learner.learner.predictions[0].quality
    touched = found["by_touch"]
    assert touched["reason"] is None
    for name, touches in zip(GROUPS, (UNTOUCHED, (TOUCH_WITHHELD,), (TOUCH_SENT,)), strict=True):
        selection, group = learned.select(touches=touches), touched[name]
        figures = selection.figures()
        assert (group["moments"], group["goals"]) == (figures.n, figures.positives)
        assert group["expected_over_observed"] == figures.expected_over_observed
        assert group["mean_likelihood"] / group["actual_rate"] == pytest.approx(figures.expected_over_observed)
        assert sum(each["moments"] for each in group["calibration"]) == pytest.approx(figures.n)
        assert figures.n > 50
    moments = found["events"]["served"]["moments"] + found["silent"]["served"]["moments"]
    assert touched["untouched"]["moments"] + touched["treated"]["moments"] == moments
    assert touched["withheld"]["moments"] < touched["untouched"]["moments"]


def rounded(value: Any) -> Any:
    """To nine digits: what is summed in another order differs in the last ones."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def test_notes_change_nothing_else_that_is_told(messaged: ServiceWorld, world: ServiceWorld) -> None:
    noted, plain = quality(messaged), quality(world)
    assert plain.pop("by_touch") == {
        **dict.fromkeys(GROUPS),
        "reason": "no campaign has sent or withheld a message in the window of a judged moment",
    }
    del noted["by_touch"]
    assert rounded(noted) == rounded(plain)
    assert {user for _, _, user in messaged.everybody()} == {user for _, _, user in world.everybody()}
