"""The API's keys in a real server: what is stored, and nothing that would let anybody in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.errors import StoreUnavailable
from streams.adapters.redis_api_keys import KeyRecord, RedisApiKeys
from streams.adapters.redis_erase import erase_store
from streams.api.keys import Role, make_key
from streams.cli.demo_live import fresh_key
from tests.contract.worlds import IDENTITY, RedisWorld


@pytest.fixture
def keys(redis_world: RedisWorld) -> Iterator[RedisApiKeys]:
    found = RedisApiKeys(redis_world.url, prefix=redis_world.prefix)
    yield found
    found.close()


def test_a_key_is_found_used_and_revoked(keys: RedisApiKeys) -> None:
    assert not keys.exist()
    key, record = make_key(Role.INGEST, "shop ✓", 100.0)
    keys.add(record)
    assert keys.exist()
    found = keys.find(record.id)
    assert found is not None
    assert (found.record, found.revoked_s, found.used_s) == (record, None, None)
    keys.note_use(record.id, 200.25)
    assert keys.revoke(record.id, 300.5)
    assert keys.revoke(record.id, 400.0)
    found = keys.find(record.id)
    assert found is not None
    assert (found.revoked_s, found.used_s) == (300.5, 200.25)
    assert keys.all() == [found]
    assert not keys.exist()
    assert key not in repr(found)


def test_unknown_keys(keys: RedisApiKeys) -> None:
    assert keys.find("0" * 12) is None
    assert not keys.revoke("0" * 12, 1.0)
    assert keys.all() == []


def test_an_id_is_given_once(keys: RedisApiKeys) -> None:
    record = KeyRecord("a" * 12, "read", "first", "d", 1.0)
    keys.add(record)
    with pytest.raises(ValueError, match="already"):
        keys.add(KeyRecord("a" * 12, "admin", "second", "e", 2.0))
    assert [state.record for state in keys.all()] == [record]


def test_the_oldest_comes_first(keys: RedisApiKeys) -> None:
    for number in (3, 1, 2):
        keys.add(KeyRecord(f"{number:012}", "read", "", "d", float(number)))
    assert [state.record.created_s for state in keys.all()] == [1.0, 2.0, 3.0]


def test_no_secret_is_stored(redis_world: RedisWorld, keys: RedisApiKeys) -> None:
    key, record = make_key(Role.ADMIN, "root", 1.0)
    keys.add(record)
    keys.note_use(record.id, 2.0)
    secret = key.rpartition("_")[2].encode()
    names = redis_world.keys()
    assert names
    assert not [name for name in names if secret in redis_world.client.dump(name)]


def test_a_demonstration_has_one_key_at_a_time_and_leaves_those_of_others(
    redis_world: RedisWorld, keys: RedisApiKeys
) -> None:
    keys.add(make_key(Role.ADMIN, "Ann", 1.0)[1])
    first = fresh_key(redis_world.url, redis_world.prefix)
    second = fresh_key(redis_world.url, redis_world.prefix)
    assert first != second
    good = {state.record.name: state.record.role for state in keys.all() if state.revoked_s is None}
    assert good == {"Ann": "admin", "demonstration": "admin"}
    assert len(keys.all()) == 3


def test_keys_stay_when_a_store_is_erased(redis_world: RedisWorld, keys: RedisApiKeys) -> None:
    keys.add(make_key(Role.READ, "", 1.0)[1])
    redis_world.open().prepare(1, IDENTITY)
    erase_store(redis_world.url, prefix=redis_world.prefix)
    assert keys.exist()
    names = redis_world.keys()
    assert [name.decode().removeprefix(redis_world.prefix) for name in names] == [":api:keys"]


def test_a_server_that_is_away_is_told() -> None:
    keys = RedisApiKeys("unix:///no/such/socket")
    with pytest.raises(StoreUnavailable):
        keys.ping()
    with pytest.raises(StoreUnavailable):
        keys.find("0" * 12)
