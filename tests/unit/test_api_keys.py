"""Who may do what: every route with every kind of key, what a key is, and what becomes of one that is revoked."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import APIRoute

from streams.api import auth
from streams.api.auth import CACHE_S, STALE_S
from streams.api.keys import Role, id_of, is_key_of, make_key
from streams.api.services import ApiOptions
from tests.unit.api_world import NOW_S, ApiWorld

OPEN = {"/healthz", "/readyz", "/openapi.json"}
"""For everybody. Whatever else there is needs a key; a new route is tested by being there."""


def routes() -> Iterator[tuple[str, str, Role | None]]:
    """(method, path, role that it needs)."""
    for route in ApiWorld().app.routes:
        path = str(getattr(route, "path", ""))
        extra = route.openapi_extra if isinstance(route, APIRoute) else None
        role = (extra or {}).get("x-tideline-role")
        for method in sorted(getattr(route, "methods", None) or {"GET"}):
            yield method, path, None if role is None else Role(role)


ALL = list(routes())
GUARDED = [(method, path, role) for method, path, role in ALL if path not in OPEN]
WEAKER = [(m, p, role) for m, p, wanted in GUARDED for role in Role if wanted is not None and not role.allows(wanted)]
ENOUGH = [(m, p, role) for m, p, wanted in GUARDED for role in Role if wanted is not None and role.allows(wanted)]


@pytest.fixture(scope="module")
def world() -> ApiWorld:
    return ApiWorld()


def ask(world: ApiWorld, method: str, path: str, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return world.ask(method, re.sub(r"\{\w+(:path)?\}", "x", path), headers=headers)


def test_only_what_is_meant_to_be_open_needs_no_key() -> None:
    assert {path for _, path, role in ALL if role is None} == OPEN
    assert GUARDED


@pytest.mark.parametrize(("method", "path", "_role"), GUARDED)
def test_without_a_good_key_nobody_gets_in(world: ApiWorld, method: str, path: str, _role: Role) -> None:
    world.now_s += 60.0  # however many routes there are: so many unknown keys are looked up in a second
    good = world.made[Role.ADMIN]
    wrong_secret = good[:-1] + ("0" if good[-1] != "0" else "1")
    unknown, _ = make_key(Role.ADMIN, "never stored", NOW_S)
    other_role = good.replace("tl_admin_", "tl_write_")
    revoked = world.new_key(Role.ADMIN)
    world.keys.revoked[id_of(revoked) or ""] = NOW_S
    bearer = [f"Bearer {key}" for key in (wrong_secret, unknown, other_role, revoked, "", "x", f"{good}x")]
    basic = [f"Basic {base64.b64encode(f'{wrong_secret}:'.encode()).decode()}", "Basic", "Basic !", "Basic /w=="]
    for authorization in (None, "", good, "Token " + good, "Bearer", *bearer, *basic):
        answer = ask(world, method, path, authorization)
        assert answer.status_code == 401, authorization
        assert answer.json()["type"] == "urn:tideline:problem:unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "role"), WEAKER)
def test_a_key_of_another_role_is_not_enough(world: ApiWorld, method: str, path: str, role: Role) -> None:
    answer = ask(world, method, path, f"Bearer {world.made[role]}")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:tideline:problem:forbidden")


@pytest.mark.parametrize(("method", "path", "role"), ENOUGH)
def test_a_key_of_the_role_is_let_in(world: ApiWorld, method: str, path: str, role: Role) -> None:
    assert ask(world, method, path, f"Bearer {world.made[role]}").status_code not in (401, 403)


def test_only_events_are_taken_with_basic(world: ApiWorld) -> None:
    basic = f"Basic {base64.b64encode(f'{world.made[Role.ADMIN]}:'.encode()).decode()}"
    assert ask(world, "GET", "/metrics", basic).status_code == 401
    assert ask(world, "POST", "/v1/track", basic).status_code == 400


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.INGEST, {Role.INGEST}),
        (Role.READ, {Role.READ}),
        (Role.WRITE, {Role.READ, Role.WRITE}),
        (Role.ADMIN, {Role.INGEST, Role.READ, Role.WRITE, Role.ADMIN}),
    ],
)
def test_roles(role: Role, may: set[Role]) -> None:
    assert {wanted for wanted in Role if role.allows(wanted)} == may


def test_of_a_key_only_a_hash_is_stored() -> None:
    key, record = make_key(Role.READ, "dashboards", NOW_S)
    match = re.fullmatch(r"tl_read_([0-9a-f]{12})_([0-9a-f]{64})", key)
    assert match is not None
    assert (id_of(key), record.id) == (match[1], match[1])
    assert match[2] not in repr(record)
    assert is_key_of(key, record)
    assert not is_key_of(key[:-1] + "g", record)
    assert id_of("tl_owner_" + key.removeprefix("tl_read_")) is None


# --- the cache -------------------------------------------------------------------------------------------------------


def status(world: ApiWorld, key: str) -> int:
    return world.ask("GET", "/metrics", headers={"Authorization": f"Bearer {key}"}).status_code


def test_the_store_is_not_asked_for_every_request_and_a_revoked_key_ends_soon() -> None:
    world = ApiWorld()
    key = world.made[Role.READ]
    assert [status(world, key) for _ in range(5)] == [200] * 5
    assert world.keys.asked == 1
    world.keys.revoked[id_of(key) or ""] = NOW_S
    world.now_s = CACHE_S - 0.1
    assert status(world, key) == 200
    world.now_s = CACHE_S
    assert status(world, key) == 401


def test_a_key_that_is_made_is_good_within_the_same_time() -> None:
    world = ApiWorld()
    key, record = make_key(Role.READ, "later", NOW_S)
    assert status(world, key) == 401
    world.keys.records[record.id] = record
    world.now_s = CACHE_S
    assert status(world, key) == 200


def test_while_the_store_is_away_known_keys_are_taken_for_a_while_and_no_others() -> None:
    world = ApiWorld()
    key, revoked = world.made[Role.READ], world.new_key(Role.READ)
    world.keys.revoked[id_of(revoked) or ""] = NOW_S
    assert (status(world, key), status(world, revoked)) == (200, 401)
    world.keys.is_away = True
    world.now_s = STALE_S - 1.0
    assert (status(world, key), status(world, revoked), status(world, world.made[Role.ADMIN])) == (200, 401, 503)
    world.now_s = STALE_S
    answer = world.ask("GET", "/metrics", headers=world.headers(Role.READ))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "inside" not in answer.text


def test_a_store_that_is_away_is_not_asked_by_every_request() -> None:
    world = ApiWorld()
    key = world.made[Role.READ]
    assert status(world, key) == 200
    world.keys.is_away = True
    asked = world.keys.asked
    for after_s in (0.0, 1.0, CACHE_S - 0.1):
        world.now_s = 100.0 + after_s
        assert status(world, key) == 200
    assert world.keys.asked == asked + 1
    world.now_s = 100.0 + CACHE_S
    assert (status(world, key), world.keys.asked) == (200, asked + 2)
    world.now_s = STALE_S
    assert status(world, key) == 503
    world.now_s, world.keys.is_away = STALE_S + 1.0, False
    world.keys.revoked[id_of(key) or ""] = NOW_S
    assert status(world, key) == 401


def unknown(count: int) -> list[str]:
    return [make_key(Role.READ, "never stored", NOW_S)[0] for _ in range(count)]


def test_keys_that_there_are_not_take_no_place_of_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_MAX_CACHED", 5)
    monkeypatch.setattr(auth, "_MAX_UNKNOWN", 5)
    world = ApiWorld()
    key = world.made[Role.READ]
    assert status(world, key) == 200
    flood = unknown(20)
    assert [status(world, each) for each in flood] == [401] * 20
    asked = world.keys.asked
    assert (status(world, key), status(world, flood[-1]), world.keys.asked) == (200, 401, asked)
    world.keys.is_away = True
    world.now_s = CACHE_S  # it is also taken while the store is away
    assert status(world, key) == 200


def test_who_tries_many_keys_does_not_keep_the_store_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_LOOKUPS_AT_ONCE", 10)
    world = ApiWorld()
    good, other = world.made[Role.READ], world.made[Role.ADMIN]
    assert status(world, good) == 200
    assert [status(world, each) for each in unknown(12)] == [401] * 9 + [503] * 3
    assert world.keys.asked == 10
    world.now_s = CACHE_S - 0.1
    assert [status(world, each) for each in unknown(12)] == [401] * 10 + [503] * 2
    world.now_s += 0.1 + 1e-9
    world.keys.revoked[id_of(good) or ""] = NOW_S
    for each in unknown(12):
        status(world, each)
    assert status(world, good) == 401  # who is known is looked up whatever others try
    answer = world.ask("GET", "/metrics", headers=world.headers(Role.ADMIN))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    world.now_s += 1.0
    assert status(world, other) == 200


def test_the_last_use_is_written_down_now_and_then() -> None:
    world = ApiWorld()
    key_id = id_of(world.made[Role.READ]) or ""
    status(world, world.made[Role.READ])
    assert world.keys.used[key_id] == NOW_S
    world.now_s = 30.0
    status(world, world.made[Role.READ])
    assert world.keys.used[key_id] == NOW_S
    world.now_s = 61.0
    status(world, world.made[Role.READ])
    assert world.keys.used[key_id] == NOW_S + 61.0


# --- how often -------------------------------------------------------------------------------------------------------


def test_a_key_has_its_rate() -> None:
    world = ApiWorld(ApiOptions(rate_per_s=0.5, rate_burst=3))
    key, other = world.made[Role.READ], world.new_key(Role.READ)
    assert [status(world, key) for _ in range(4)] == [200, 200, 200, 429]
    assert status(world, other) == 200
    answer = world.ask("GET", "/metrics", headers=world.headers(Role.READ))
    assert (answer.json()["type"], answer.headers["retry-after"]) == ("urn:tideline:problem:rate-limited", "2")
    world.now_s = 2.0
    assert [status(world, key), status(world, key)] == [200, 429]
