"""What the API shows of a preview is as of one moment, whatever a service of three shards works afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from streams.api.keys import Role
from streams.api.views import time_text
from tests.integration.service_world import DAYS, SHARDS, START_S, ServiceWorld, service
from tests.integration.small_shop import run
from tests.unit.api_world import ApiWorld

PATH: Final = "/v1/predictions/shown_2d"
LATER_S: Final = START_S + DAYS * 86_400


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceWorld, ApiWorld, dict[str, Any]]]:
    """A service that has worked three days more since it was asked, and what it had answered."""
    with service(tmp_path_factory.mktemp("preview")) as world:
        for run_ in world.shards:  # the log has nothing more, and no time passes
            run_.step([], world.models, START_S + 1e8)
        api = asking(world)
        before = {what: get(api, path) for what, path in PATHS.items()}
        api.stored.close()
        for day in range(3):
            world.take([event(f"user-{n}", LATER_S + day * 86_400 + 60.0 * n, f"d{day}-{n}") for n in range(200)])
        world.take([event("who comes late", LATER_S + 3 * 86_400, "late")])
        api = asking(world)
        yield world, api, before
        api.stored.close()


PATHS: Final = {
    "prediction": PATH,
    "distribution": f"{PATH}/distribution",
    "drivers": f"{PATH}/drivers",
    "quality": f"{PATH}/quality",
    "user": "/v1/users/user-7",
    "other user": "/v1/users/user-250",
    "said": "/v1/likelihoods?user=user-7&prediction=shown_2d",
    "moving": "/v1/predictions/orders_2d/distribution",
}


def asking(world: ServiceWorld) -> ApiWorld:
    return ApiWorld(store_url=world.url)


def get(api: ApiWorld, path: str) -> Any:
    answer = api.ask("GET", path, headers=api.headers(Role.READ))
    assert answer.status_code == 200, answer.text
    return answer.json()


def event(user: str, time_s: float, name: str) -> dict[str, Any]:
    when = datetime.fromtimestamp(time_s, UTC).isoformat()
    return {"type": "track", "userId": user, "event": "View", "messageId": name, "timestamp": when}


def of_preview(user: Any) -> Any:
    (found,) = [each for each in user["predictions"] if each["id"] == "shown_2d"]
    return found


def test_it_was_frozen_in_all_shards_and_says_as_of_when(
    moved: tuple[ServiceWorld, ApiWorld, dict[str, Any]],
) -> None:
    world, _, before = moved
    at_s = [float(run.shard.frozen_at_s[2]) for run in world.shards]
    assert len(at_s) == SHARDS
    assert at_s == pytest.approx([LATER_S] * SHARDS, abs=86_400.0), "history was worked first"
    assert before["prediction"]["frozen_at"] == before["distribution"]["frozen_at"] == time_text(max(at_s))
    assert before["prediction"]["status"] == "preview (scores shown, not targetable)"
    assert before["moving"]["frozen_at"] is None


def test_events_and_silence_change_nothing_that_is_told(
    moved: tuple[ServiceWorld, ApiWorld, dict[str, Any]],
) -> None:
    _, api, before = moved
    after = {what: get(api, path) for what, path in PATHS.items()}
    assert after["moving"]["by_score"] != before["moving"]["by_score"]
    for found in (before, after):
        del found["prediction"]["clock"], found["distribution"]["as_of"]
    for what in ("prediction", "distribution", "drivers", "quality"):
        assert after[what] == before[what], what
    for user in ("user", "other user"):
        assert of_preview(after[user]) == of_preview(before[user])
    assert after["user"]["scored_at"] > before["user"]["scored_at"]
    assert len(of_preview(before["user"])["reasons"]) == 5
    assert all(said["time"] <= of_preview(after["user"])["frozen_at"] for said in after["said"]["items"])


def test_who_came_later_has_no_score_and_is_told_why(moved: tuple[ServiceWorld, ApiWorld, dict[str, Any]]) -> None:
    _, api, before = moved
    found = of_preview(get(api, "/v1/users/who%20comes%20late"))
    assert (found["score"], found["likelihood"], found["category"], found["reasons"]) == (None, None, None, [])
    assert found["not_scored"] == "the user came after everybody was scored for this preview"
    assert of_preview(before["user"])["not_scored"] is None


def test_the_command_line_says_as_of_when_it_is_and_who_came_later(
    moved: tuple[ServiceWorld, ApiWorld, dict[str, Any]],
) -> None:
    world, _, _ = moved
    code, out, _ = run("user", "user-7", "--store", world.url)
    assert code == 0
    (line,) = [line for line in out.splitlines() if "(shown_2d)" in line]
    assert "preview (scores shown, not targetable), as of " in line
    code, out, _ = run("user", "who comes late", "--store", world.url)
    assert code == 0
    assert "(shown_2d): no score: not in the audience when it was scored for good, on " in out
