"""The audience of a prediction before it is made, over all users of a service of three shards."""

from __future__ import annotations

from typing import Any

import pytest

from streams.api.keys import Role
from tests.integration.service_world import CATALOG, ServiceWorld
from tests.unit.api_world import ApiWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
NEW = {"name": "New", "goal": {"did": "Order"}, "window": "2d"}


def estimate(api: ApiWorld, **more: Any) -> Any:
    answer = api.ask("POST", "/v1/predictions/estimate", json=NEW | more, headers=api.headers(Role.READ))
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["away", "busy", "from_a"])
def test_the_audience_is_who_its_filter_holds_for(api: ApiWorld, name: str) -> None:
    tree = CATALOG.segments[name].filter.model_dump(mode="json", by_alias=True, exclude_none=True)
    size = api.ask("GET", f"/v1/segments/{name}", headers=api.headers(Role.READ)).json()["members"]
    if "within" in tree:
        tree["within"] = "48h"
    if "since" in tree:
        tree["since"] = {"min": "3d"}
    assert estimate(api, audience=tree)["audience"] == size > 0


def test_without_an_audience_it_is_everybody(world: ServiceWorld, api: ApiWorld) -> None:
    assert estimate(api)["audience"] == sum(run.users for run in world.shards)


def test_what_is_not_kept_of_users_is_told(api: ApiWorld) -> None:
    found = estimate(api, audience={"trait": "shoe_size", "min": 40})
    assert found["audience"] is None
    assert "'shoe_size' is not kept" in found["no_audience"]
    assert found["warnings"] != []
