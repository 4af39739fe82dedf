"""Quality, drivers, users and exports over HTTP, of a service of three shards with a learner of its own."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.examples import KIND_CROSSING, KIND_EVENT, KIND_SILENT
from models.labels import NEXT, tail_of
from streams.adapters.log_feed import EmbeddedTransitionLog
from streams.adapters.log_folder import LogFolder
from streams.api import sizes, user_search
from streams.api.kept_sizes import KEPT_S
from streams.api.keys import Role
from streams.api.views import time_text
from streams.core.partition import shard_of
from tests.integration.service_world import CATALOG, SHARDS, ServiceWorld
from tests.unit.api_world import ApiWorld

PATH = "/v1/predictions/orders_2d"


@pytest.fixture
def api(world: ServiceWorld) -> Iterator[ApiWorld]:
    log: Any = EmbeddedTransitionLog(lambda: world.folder)
    api = ApiWorld(store_url=world.url, transitions=log)
    yield api
    api.stored.close()
    asyncio.run(api.transitions.close())


def ask(api: ApiWorld, path: str, **params: Any) -> httpx.Response:
    return api.ask("GET", path, params=params, headers=api.headers(Role.READ))


def get(api: ApiWorld, path: str, **params: Any) -> Any:
    answer = ask(api, path, **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def waiting(world: ServiceWorld, user: str, p: int) -> dict[str, list[float]]:
    """What the ring of the user's shard says was served to the user, by time: logit and score."""
    shard = world.shards[shard_of(user, SHARDS)].shard
    q, row = shard.pending, shard.users.find(user)
    found: dict[str, list[float]] = {}
    for sequence in range(int(tail_of(shard.sealed["pending"])), int(q.n[NEXT])):
        at = sequence % len(q.time_s)
        if q.row[at] == row:
            found[time_text(float(q.time_s[at])) or ""] = q.served[at, [0, 2], p].astype(np.float64).tolist()
    return found


def test_likelihoods_over_time_are_those_that_were_served(world: ServiceWorld, api: ApiWorld) -> None:
    served_from = get(api, f"{PATH}/quality")["served_since"]
    looked_at = 0
    for user in (f"user-{n}" for n in range(0, 200, 4)):
        found = get(api, "/v1/likelihoods", user=user, prediction="orders_2d", limit=1_000)
        times = [said["time"] for said in found["items"]]
        assert (times, found["complete"], found["is_sampled"]) == (sorted(set(times)), True, False)
        said_at = {said["time"]: said for said in found["items"]}
        kept = waiting(world, user, 0)
        assert set(kept) <= set(said_at)
        for time, (logit, score) in kept.items():
            said = said_at[time]
            assert said["score"] == (None if np.isnan(score) else score)
            is_served = time >= served_from and not np.isnan(logit)
            assert said["likelihood"] == (pytest.approx(1.0 / (1.0 + np.exp(-logit)), rel=1e-9) if is_served else None)
            looked_at += is_served
        few = get(api, "/v1/likelihoods", user=user, prediction="orders_2d", limit=1)
        assert few["items"] == found["items"][-1:]
        assert few["complete"] == (len(times) <= 1)
        assert found["reaches_back_s"] == 2 * 86_400.0
    assert looked_at > 30


def test_nobody_says_anything_of_whom_nobody_has_seen(api: ApiWorld) -> None:
    for params in ({"user": "nobody", "prediction": "orders_2d"}, {"user": "user-5", "prediction": "none"}):
        assert ask(api, "/v1/likelihoods", **params).status_code == 404


def test_quality_is_what_the_learner_has_judged(world: ServiceWorld, api: ApiWorld) -> None:
    found = get(api, f"{PATH}/quality")
    learner = world.learner.learner.predictions[0]
    assert (found["learned"], found["learned_goals"]) == (learner.learned, learner.goals)
    assert found["not_judged"] is None
    for name, kind in (("events", KIND_EVENT), ("silent", KIND_SILENT), ("crossings", KIND_CROSSING)):
        figures = learner.quality.select((kind,)).figures()
        served = found[name]["served"]
        assert (served["moments"], served["goals"], served["roc_auc"]) == (
            figures.n,
            figures.positives,
            figures.roc_auc,
        )
        assert served["band"] == figures.band
        groups = found[name]["calibration"]
        assert sum(group["moments"] for group in groups) == pytest.approx(figures.n)
        rates = [group["mean_likelihood"] for group in groups]
        assert rates == sorted(rates)
    weeks = found["events"]["weeks"]
    assert sum(week["served"]["moments"] for week in weeks) == found["events"]["served"]["moments"] > 500
    assert [week["start"] for week in weeks] == sorted(week["start"] for week in weeks)
    assert found["events"]["baseline"]["roc_auc"] != found["events"]["served"]["roc_auc"]
    assert found["by_touch"]["untouched"] is None
    assert "no campaign" in found["by_touch"]["reason"]


def test_quality_over_time_has_a_bound(api: ApiWorld) -> None:
    (last,) = get(api, f"{PATH}/quality", weeks=1)["events"]["weeks"]
    assert last == get(api, f"{PATH}/quality")["events"]["weeks"][-1]
    assert ask(api, f"{PATH}/quality", weeks=521).status_code == 422


def test_drivers_are_the_weights_on_standardised_features(world: ServiceWorld, api: ApiWorld) -> None:
    found = get(api, f"{PATH}/drivers")
    run = world.shards[0]
    names = run.shard.vocabulary.feature_names()
    latest = max((r.shard.snapshot.predictions[0] for r in world.shards), key=lambda each: each.version)
    effects = latest.weights * np.sqrt(world.learner.learner.predictions[0].model.variances)  # type: ignore[union-attr]
    strongest = int(np.argmax(np.abs(effects)))
    first = found["drivers"][0]
    assert first["feature"] == names[strongest]
    assert first["strength"] == pytest.approx(abs(effects[strongest]))
    assert first["odds_factor"] == pytest.approx(np.exp(effects[strongest]))
    assert first["direction"] == ("raises" if effects[strongest] > 0 else "lowers")
    assert found["model_version"] == latest.version
    assert {each["direction"] for each in found["drivers"]} == {"raises", "lowers"}
    assert len(get(api, f"{PATH}/drivers", limit=3)["drivers"]) == 3


def test_users_are_found_by_id_and_by_how_it_begins(api: ApiWorld) -> None:
    found = get(api, "/v1/users", id="user-1", limit=100)
    assert found["items"][0] == {"user_id": "user-1"}
    wanted = {f"user-{n}" for n in range(300) if str(n).startswith("1")}
    assert found["complete"] is False
    assert {item["user_id"] for item in found["items"]} < wanted
    assert len(found["items"]) == 100
    some = get(api, "/v1/users", id="user-29", limit=100)
    assert {item["user_id"] for item in some["items"]} == {"user-29", *(f"user-{n}" for n in range(290, 300))}
    assert some["complete"] is True
    for odd in ("*", "user-?", "user-[1]", "\\", "ä", "^"):
        assert get(api, "/v1/users", id=odd) == {"items": [], "complete": True}
    assert ask(api, "/v1/users").status_code == 422


def test_the_latest_transitions_of_a_user_come_from_the_log(world: ServiceWorld, api: ApiWorld) -> None:
    run, row, user = next(each for each in world.everybody() if shard_of(each[2], SHARDS) == 1)
    found = get(api, "/v1/transitions", user=user, limit=100)
    sequences: dict[str, list[int]] = {}
    for item in reversed(found["items"]):
        assert (item["subject"], item["data"]["user_id"]) == (user, user)
        sequences.setdefault(item["data"]["segment_id"], []).append(int(item["sequence"]))
    assert sequences
    assert found["complete"] is True
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequences.values())
    first, ids = run.shard.definitions.layout.columns.u_sequence, run.shard.definitions.segment_ids
    stored = run.shard.users.rows.u[row, first : first + len(ids)].tolist()
    assert {name: len(numbers) for name, numbers in sequences.items()} == {
        name: sequence for name, sequence in zip(ids, stored, strict=True) if sequence
    }
    (latest,) = get(api, "/v1/transitions", user=user, limit=1)["items"]
    assert latest == found["items"][0]
    assert get(api, "/v1/transitions", user="nobody")["items"] == []


def test_only_the_end_of_the_log_is_looked_at(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_search, "LOOKED_AT", 7)
    found = get(api, "/v1/transitions", user="user-5")
    assert (found["looked_at"], found["complete"]) == (7, False)


def test_a_service_whose_log_is_not_here_looks_into_the_store(world: ServiceWorld, tmp_path: Path) -> None:
    log: Any = EmbeddedTransitionLog(lambda: LogFolder.find(tmp_path))
    api = ApiWorld(store_url=world.url, transitions=log)
    found = get(api, "/v1/transitions", user="user-5")
    assert (found["items"], found["complete"]) == ([], False)
    api.stored.close()


def test_scores_that_are_only_to_be_looked_at_are_not_exported(api: ApiWorld) -> None:
    path = "/v1/segments/busy/export"
    rows = list(csv.DictReader(io.StringIO(ask(api, path, format="csv").text)))
    assert {"orders_2d_score", "loyal_2d_score"} <= rows[0].keys()
    assert not [name for name in rows[0] if name.startswith("shown_2d")]
    only = ask(api, path, format="csv", scores="loyal_2d").text.splitlines()[0].split(",")
    assert only == ["user_id", "since", "entry_count", *(f"loyal_2d_{x}" for x in ("score", "likelihood", "category"))]
    refused = ask(api, path, scores=["orders_2d", "shown_2d"])
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:tideline:problem:not-targetable")
    assert "access: live" in refused.json()["detail"]
    assert ask(api, path, scores="nope").status_code == 404
    assert CATALOG.predictions["shown_2d"].access == "preview"


@pytest.mark.parametrize("name", ["busy", "orders_2d.high", "mixed"])
def test_a_segment_was_as_large_as_its_transitions_say(api: ApiWorld, name: str) -> None:
    found = get(api, f"/v1/segments/{name}/sizes")
    assert found["members"] == get(api, f"/v1/segments/{name}")["members"] == found["days"][-1]["members"] > 0
    members = 0  # all transitions of this service are kept, so it begins with nobody
    for day in found["days"]:
        members += day["entered"] - day["exited"]
        assert day["members"] == members
    days = [date.fromisoformat(day["day"]) for day in found["days"]]
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]
    assert found["complete_from"] == found["days"][0]["day"]
    assert len(days) > 10


def test_sizes_reach_as_far_back_as_the_log(api: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = get(api, "/v1/segments/busy/sizes")["days"]
    monkeypatch.setattr(sizes, "LOOKED_AT", 200)
    assert get(api, "/v1/segments/busy/sizes")["days"] == whole, "what was counted just now"
    assert get(api, "/v1/segments/week/sizes")["days"] != whole
    api.now_s += KEPT_S
    found = get(api, "/v1/segments/busy/sizes")
    assert 0 < len(found["days"]) < len(whole)
    assert found["days"] == whole[-len(found["days"]) :]
    assert found["complete_from"] == found["days"][0]["day"]


def test_sizes_without_a_log_are_only_of_now(world: ServiceWorld, tmp_path: Path) -> None:
    log: Any = EmbeddedTransitionLog(lambda: LogFolder.find(tmp_path))
    api = ApiWorld(store_url=world.url, transitions=log)
    found = get(api, "/v1/segments/busy/sizes")
    assert (found["days"], found["complete_from"]) == ([], None)
    assert "no log of transitions" in found["reason"]
    assert ask(api, "/v1/segments/nope/sizes").status_code == 404
    api.stored.close()
