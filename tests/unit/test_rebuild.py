"""A store that is made anew from the log, under definitions that were edited while the one before it ran."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from benchmarks._warmup import ShortWarmup
from config.catalog import Catalog
from models.jit import F32
from models.pipeline import CompiledLogistic
from streams.adapters.memory_store import MemoryShard
from streams.adapters.redis_reader import Score
from tests.unit import test_live_redefine
from tests.unit.test_history import late, together
from tests.unit.test_live_redefine import AFTER, Service

ROUNDS = 30
EARLIER = AFTER.model_copy(
    update={
        "predictions": {"orders": AFTER.predictions["orders"]},
        "segments": {"buyers": AFTER.segments["buyers"]},
    }
)
"""Without the prediction and the segment that are made while it runs, and with the same features."""
VALUES = together(2_400)


@pytest.fixture(autouse=True)
def short_warmup() -> Iterator[None]:
    with patch("models.learner.Warmup", ShortWarmup):
        yield


def live(before: Catalog) -> Service:
    """Edited after two fifths of the log, whose past is read after a half and joins after two thirds."""
    with patch.object(test_live_redefine, "BEFORE", before):
        return late([VALUES], defined=12, read=15, joined=20, rounds=ROUNDS)[0]


def rebuilt() -> Service:
    """All of the log from its beginning into an empty store, under what is defined in the end."""
    service, size = Service(count=1), len(VALUES) // ROUNDS + 1
    service.turn(0, 1)
    for round_ in range(ROUNDS):
        service.work(0, VALUES[: size * (round_ + 1)])
        service.learn()
    return service


def stored(service: Service) -> MemoryShard:
    return service.servers[0].shards[0]


def said(service: Service, prediction: str) -> dict[str, Score]:
    return {user: msgspec.json.decode(data, type=Score) for user, data in stored(service).scores[prediction].items()}


def members(service: Service) -> dict[str, set[str]]:
    return {name: users for name, users in stored(service).members.items() if users}


def models(service: Service) -> dict[str, bytes]:
    found = {one.spec.id: one.model for one in service.learner.learner.predictions}
    return {id_: model.to_bytes() for id_, model in found.items() if isinstance(model, CompiledLogistic)}


def features(service: Service) -> dict[str, F32]:
    """Counts, recencies and values by user, without what was said."""
    shard = service.shards[0].shard
    rows, end = shard.users.rows.f, shard.definitions.layout.columns.f_score
    return {user: rows[row, :end] for row, user in enumerate(shard.users.ids) if user}


def test_a_rebuilt_store_has_the_models_scores_and_members_of_the_one_that_was_edited_while_it_ran() -> None:
    edited, anew = live(EARLIER), rebuilt()
    assert models(edited).keys() == {"views", "orders"}
    assert models(edited) == models(anew)
    assert edited.learned() == anew.learned()
    assert members(edited) == members(anew)
    assert set(members(anew)) >= {"seen", "buyers", "views.high", "views.low", "orders.high"}
    for name in ("views", "orders"):
        wanted, found = said(anew, name), said(edited, name)
        assert {user: each.likelihood for user, each in found.items()} == {
            u: each.likelihood for u, each in wanted.items()
        }
        assert len({each.likelihood for each in wanted.values()}) > 50
        # A score is a rank among all as of the user's last moment, by the model that was in force then: the latest one
        # comes to a running service some records earlier or later.
        assert sum(found[user].score == each.score for user, each in wanted.items()) > 55
    for user, row in features(anew).items():
        np.testing.assert_array_equal(features(edited)[user], row)


def test_what_was_learned_before_a_new_feature_is_all_that_a_rebuilt_store_has_otherwise() -> None:
    """As docs/operations.md says: a model cannot learn from a column that there was not."""
    edited, anew = live(test_live_redefine.BEFORE), rebuilt()
    assert models(edited)["views"] == models(anew)["views"]
    assert models(edited)["orders"] != models(anew)["orders"]
    assert edited.learned() == anew.learned()
    wanted, found = said(anew, "views"), said(edited, "views")
    assert [found[user].likelihood for user in wanted] == [each.likelihood for each in wanted.values()]
    for segment in ("seen", "buyers", "views.high", "views.medium", "views.low"):
        assert members(edited).get(segment) == members(anew).get(segment)
