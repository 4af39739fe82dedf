"""Estimates that are refused, or cannot be made at the moment, say why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from config.errors import CatalogMoved
from streams.adapters.redis_reader import RedisReader
from streams.api.keys import Role
from streams.api.stored import StoreReads
from tests.unit.api_world import ApiWorld
from tests.unit.test_api_definitions import World, problem


@pytest.mark.parametrize(("query", "status"), [("min=90&max=20", 422), ("min=20&max=90", 503)])
def test_a_range_whose_ends_are_the_wrong_way_round_is_refused(query: str, status: int) -> None:
    """The other one comes to a store in which there is nothing."""
    answer = World().call("GET", f"/v1/predictions/orders/estimate?{query}", role=Role.READ)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert problem(answer) == (422, "invalid-parameters")
        assert "min is 90, and max 20" in answer.json()["detail"]


class Moving(StoreReads):
    """A store whose shards take up other definitions just now."""

    @contextmanager
    def reader(self) -> Iterator[RedisReader]:
        yield from self._nothing()

    def _nothing(self) -> Iterator[RedisReader]:
        raise CatalogMoved("rows are of others than those known")


def test_while_definitions_change_that_is_the_reason() -> None:
    world = ApiWorld(reads=Moving)
    answer = world.ask("GET", "/v1/predictions/orders/estimate", headers=world.headers(Role.READ))
    assert problem(answer) == (503, "unavailable")
    assert "definitions are changing" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "1"
