"""A preview is scored once for everybody, and nothing that happens afterwards changes what is said of anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks._warmup import ShortWarmup
from config.catalog import Catalog
from config.loader import loads
from models.features import features_at
from models.pipeline import CompiledLogistic
from models.reasons import TOP, reasons
from models.snapshot import Status
from streams.core.decode import SegmentDecoder
from streams.core.frozen import freeze, kept_reasons
from streams.core.message_hash import id_hash, place_hash
from streams.core.questions import kept_predictions
from streams.core.redefine import redefined
from streams.core.shard import Shard
from streams.runtime.lockstep import LockStep
from streams.runtime.shard_run import ShardRun
from tests.unit.test_history import MemoryPasts, lock_step, together
from tests.unit.test_live_redefine import Service, Stop, Stops
from tests.unit.test_live_runs import LOG_S, SHARDS, START_S, event, iso, traffic

TEXT = """
version: 1
name: live
features: {events: [View, Order]}
predictions:
  shown: {name: Views to look at, goal: {did: View}, window: 3h, access: preview}
  orders: {name: Orders, goal: {did: Order}, window: 6h}
segments:
  buyers: {name: Has bought, filter: {event: Order, count: {min: 1}}}
"""
SHOWN = loads(TEXT)
LIVE = loads(TEXT.replace(", access: preview", ""))
OTHERS = loads(TEXT.replace("events: [View, Order]", "events: [Cart, View, Order]"))
EVERYBODY = (*range(SHARDS), SHARDS)


@pytest.fixture(autouse=True)
def short_warmup() -> Iterator[None]:
    with patch("models.learner.Warmup", ShortWarmup):
        yield


def started(catalog: Catalog, **given: Any) -> Service:
    """A service of this catalog from its first event on."""
    service = Service(**given)
    service.models.use(catalog)
    service.turn(*range(service.count + 1), to=catalog)
    return service


def go_on(service: Service, rounds: range, of: int = 30, events: int = 2_400, *, rests: bool = True) -> None:
    logs = traffic(events)
    size = max(map(len, logs)) // of + 1
    for round_ in rounds:
        for shard, log in enumerate(logs):
            service.work(shard, log[: size * (round_ + 1)])
            if rests:
                rest(service, shard)
        service.learn()


def rest(service: Service, shard: int) -> None:
    """The log has nothing more, and no time passes meanwhile."""
    while True:
        try:
            service.shards[shard].step([], service.models.latest, LOG_S)
            return
        except Stop:
            service.shards[shard] = service.start_shard(shard)


def said(service: Service, prediction: str) -> dict[str, Any]:
    """What the store says of everybody."""
    return {
        user: json.loads(text)
        for stored in service.servers[0].shards.values()
        for user, text in stored.scores.get(prediction, {}).items()
    }


def frozen(service: Service, name: str = "shown") -> list[float]:
    """As of when each shard has scored everybody for good."""
    return [float(run.shard.frozen_at_s[run.shard.definitions.prediction_ids.index(name)]) for run in service.shards]


def status(run: ShardRun, name: str = "shown") -> Status:
    return run.shard.snapshot.predictions[run.shard.definitions.prediction_ids.index(name)].status


def shown_chunks(service: Service) -> int:
    return sum(b"shown" in record.value for record in service.chunks)


def told_of(service: Service, since: int = 0) -> set[str | None]:
    """The predictions that transitions name, from the one with this number on."""
    return {t["data"]["prediction_id"] for t in service.transitions()[since:]}


# --- a live service --------------------------------------------------------------------------------------------------


def test_a_preview_that_is_ready_is_scored_once_and_learns_nothing_more() -> None:
    service = started(SHOWN)
    go_on(service, range(3))
    assert np.isnan(frozen(service)).all(), "it warms up"
    go_on(service, range(3, 15))
    at_s, before, orders = frozen(service), said(service, "shown"), said(service, "orders")
    assert not np.isnan(at_s).any()
    assert len(before) > 30
    assert all(found["likelihood"] is not None for found in before.values())
    learned, sent = service.learned()["shown"], shown_chunks(service)
    go_on(service, range(15, 30))
    for run in service.shards:
        run.step([], service.models.latest, LOG_S + 90_000.0)
    assert said(service, "shown") == before
    assert (frozen(service), service.learned()["shown"], shown_chunks(service)) == (at_s, learned, sent)
    assert said(service, "orders") != orders
    assert told_of(service) == {"orders", None}


def test_history_is_read_to_its_end_before_anybody_is_scored_for_good() -> None:
    service = started(SHOWN)
    go_on(service, range(30), rests=False)
    assert {status(run) for run in service.shards} == {Status.LIVE}
    assert np.isnan(frozen(service)).all()
    for shard in range(SHARDS):
        rest(service, shard)
    assert frozen(service) == [run.shard.clock_s for run in service.shards]


def test_a_stop_at_any_step_of_freezing_leaves_what_was_or_what_stays() -> None:
    whole = started(SHOWN)
    go_on(whole, range(1))
    first = whole.stops.calls + 1  # behind what it took to begin
    go_on(whole, range(1, 30))
    last = whole.stops.calls
    assert last > first + 10
    for at in sorted({first, first + 1, *range(first + 2, last, 5), last - 1, last}):
        stopped = started(SHOWN, stops=Stops(at))
        go_on(stopped, range(30))
        assert stopped.stops.calls >= at
        assert frozen(stopped) == frozen(whole)
        assert {t["id"]: t for t in stopped.transitions()} == {t["id"]: t for t in whole.transitions()}
        for number in range(SHARDS):
            a, b = stopped.servers[0].shards[number], whole.servers[0].shards[number]
            assert (a.rows, a.scores, a.index, a.members) == (b.rows, b.scores, b.index, b.members)
            assert a.staged is None


def test_a_shard_that_is_loaded_again_knows_what_is_frozen() -> None:
    always, again = started(SHOWN), started(SHOWN)
    for service in (always, again):
        go_on(service, range(15))
    again.shards = [again.start_shard(number) for number in range(SHARDS)]
    again.learner = again.start_learner()
    for service in (always, again):
        go_on(service, range(15, 30))
    assert frozen(again) == frozen(always)
    for number in range(SHARDS):
        a, b = again.servers[0].shards[number], always.servers[0].shards[number]
        assert (a.rows, a.scores, a.index, a.members) == (b.rows, b.scores, b.index, b.members)


def test_nobody_is_scored_for_good_before_the_past_has_joined() -> None:
    pasts = MemoryPasts()
    service = Service(pasts=pasts)
    go_on(service, range(12), of=60, events=4_800)
    service.models.use(SHOWN)
    service.turn(*EVERYBODY, to=SHOWN)
    go_on(service, range(12, 30), of=60, events=4_800)
    assert {status(run) for run in service.shards} == {Status.WARMING}
    assert np.isnan(frozen(service)).all()
    pasts.are_coming = False  # it cannot be read: what is new learns from now on
    go_on(service, range(30, 60), of=60, events=4_800)
    assert not np.isnan(frozen(service)).any()
    assert all(run.since.predictions == {} for run in service.shards)


def test_a_preview_that_is_made_live_learns_anew_and_tells_nobody_meanwhile() -> None:
    service = started(SHOWN, pasts=MemoryPasts())
    go_on(service, range(15))
    assert not np.isnan(frozen(service)).any()
    assert any(key.endswith(":shown") for key in service.models.latest), "a model that may not come back"
    service.turn(*EVERYBODY, to=LIVE)
    go_on(service, range(15, 30))
    assert np.isnan(frozen(service)).all()
    assert {status(run) for run in service.shards} == {Status.WARMING}
    assert service.learned()["shown"] == (0, 0, 0)
    assert all(set(run.since.predictions) == {"shown"} for run in service.shards)
    assert told_of(service) == {"orders", None}
    assert all(found["likelihood"] is None for found in said(service, "shown").values())


def test_what_is_taken_back_leaves_its_segments_and_is_scored_once_by_what_it_has_learned() -> None:
    service = started(LIVE)
    go_on(service, range(20))
    members = {user for n in range(SHARDS) for c in ("low", "medium", "high") for user in members_of(service, n, c)}
    assert len(members) > 30
    learned, told = service.learned()["shown"], len(service.transitions())
    service.turn(*EVERYBODY, to=SHOWN)
    for _ in range(2):
        for run in service.shards:
            run.step([], service.models.latest, LOG_S)
    exits = [t["data"] for t in service.transitions()[told:]]
    assert {(t["prediction_id"], t["in_segment"], t["origin"]) for t in exits} == {
        ("shown", False, "definition_change")
    }
    assert {t["user_id"] for t in exits} == members
    assert not np.isnan(frozen(service)).any(), "no event is needed"
    before = said(service, "shown")
    assert all(found["likelihood"] is not None for found in before.values())
    go_on(service, range(20, 30))
    assert said(service, "shown") == before
    assert service.learned()["shown"][0] <= learned[0] + 200, "only what was on its way"
    assert told_of(service, told + len(exits)) == {"orders"}


def members_of(service: Service, shard: int, category: str) -> set[str]:
    return service.servers[0].shards[shard].members.get(f"shown.{category}", set())


def test_what_comes_back_from_the_archive_without_its_columns_waits_for_its_past() -> None:
    """The topic still has the model of before."""
    service = started(LIVE, pasts=MemoryPasts())
    go_on(service, range(15))
    assert any(key.endswith(":shown") for key in service.models.latest)
    service.turn(*EVERYBODY, to=LIVE.model_copy(update={"predictions": {"orders": LIVE.predictions["orders"]}}))
    go_on(service, range(15, 18))
    service.turn(*EVERYBODY, to=LIVE)
    told = len(service.transitions())
    go_on(service, range(18, 30))
    assert {status(run) for run in service.shards} == {Status.WARMING}
    assert "shown" not in told_of(service, told)


def test_an_archived_preview_gives_its_scores_up_and_is_scored_anew_when_it_comes_back() -> None:
    service = started(SHOWN)
    go_on(service, range(15))
    first = frozen(service)
    service.turn(*EVERYBODY, to=changed(archived=True))
    go_on(service, range(15, 20))
    assert said(service, "shown") == {}
    service.turn(*EVERYBODY, to=SHOWN)
    go_on(service, range(20, 30))
    assert all(again > before for again, before in zip(frozen(service), first, strict=True))
    assert len(said(service, "shown")) == 60


# --- one shard -------------------------------------------------------------------------------------------------------


def engine_of(catalog: Catalog = SHOWN, n: int = 1_200) -> LockStep:
    engine = lock_step(catalog, together(n))
    assert engine.shard.serves(0)
    return engine


def feed(engine: LockStep, values: list[bytes]) -> None:
    decoder, source = SegmentDecoder(engine.catalog), id_hash("events-0")
    for n, value in enumerate(values):
        engine.take([decoder.decode(value, n, LOG_S, place_hash(source, n))])


def more(first: int, n: int, users: int = 70) -> list[bytes]:
    """Events of users of before and of new ones."""
    return [
        event(f"user-{k % users}", "Order" if k % 3 else "View", START_S + (first + k) * 60.0, first + k)
        for k in range(n)
    ]


def kept_of(shard: Shard, p: int = 0) -> dict[str, str]:
    """Everything that rows hold of a prediction; as text, in which NaN is equal to itself."""
    c, rows = shard.definitions.layout.columns, shard.users.rows
    places = {user: i for i, user in enumerate(shard.users.ids) if user}
    return {
        user: str(
            (
                rows.f[i, c.f_z + p].tolist(),
                rows.f[i, c.f_score + p].tolist(),
                int(rows.b[i, c.b_category + p]),
                int(rows.b[i, c.b_audience + p]),
            )
        )
        for user, i in places.items()
    }


NOTHING = str((np.nan, np.nan, 255, 0))


def why(shard: Shard) -> dict[str, list[tuple[str, str, float]]]:
    """The reasons that rows keep of the first prediction."""
    c, rows, names = shard.definitions.layout.columns, shard.users.rows, shard.vocabulary.feature_names()
    found = {}
    for i, user in enumerate(shard.users.ids):
        codes, parts = rows.u[i, c.u_reason : c.u_reason + TOP], rows.f[i, c.f_reason : c.f_reason + TOP]
        some = kept_reasons(codes, parts, shard.snapshot.predictions[0], names)
        found[user] = [(one.feature, str(one.level), one.contribution) for one in some]
    return found


def test_everybody_is_scored_as_at_a_look_of_that_moment_with_the_reasons_of_it() -> None:
    shard = engine_of().shard
    at_s, model = shard.clock_s, shard.snapshot.predictions[0]
    names, c = shard.vocabulary.feature_names(), shard.definitions.layout.columns
    freeze(shard, ["shown"])
    kept = why(shard)
    for i, user in enumerate(shard.users.ids):
        x = np.zeros(c.features, np.float32)
        features_at(shard.users.rows, c, shard.definitions.features, i, at_s, x)
        logit = model.bias + float(model.weights @ x.astype(np.float64))
        assert shard.users.rows.f[i, c.f_z] == pytest.approx(logit, rel=1e-5, abs=1e-6)
        wanted = reasons(model.weights, model.means, x, names)
        assert len(wanted) == TOP
        assert [found[:2] for found in kept[user]] == [(one.feature, one.level) for one in wanted]
        assert [found[2] for found in kept[user]] == pytest.approx([one.contribution for one in wanted], rel=1e-6)
    assert int(shard.population.counts[0].sum()) == len(shard.users)


def test_events_silence_and_models_change_nothing_of_it_and_who_comes_later_has_none() -> None:
    engine = engine_of()
    freeze(engine.shard, ["shown"])
    before, reasons_before = kept_of(engine.shard), why(engine.shard)
    counts = engine.shard.population.counts[0].copy()
    feed(engine, more(1_200, 600))
    engine.take([], START_S + 3e6)
    after = kept_of(engine.shard)
    assert len(after) == 70
    assert {user: after[user] for user in before} == before
    assert {user: found for user, found in why(engine.shard).items() if user in before} == reasons_before
    assert [found for user, found in why(engine.shard).items() if user not in before] == [[]] * 10
    assert {after[user] for user in after if user not in before} == {NOTHING}
    assert (engine.shard.population.counts[0] == counts).all()


def test_to_all_others_it_is_as_if_it_were_not_there() -> None:
    frozen_, without = engine_of(), engine_of()
    for engine, catalog in ((frozen_, SHOWN), (without, changed(archived=True))):
        engine.saver.take_effects(1, b"")
        engine.redefine(catalog, generation="g")
        while engine.shard.is_reviewing:
            engine.shard.review()
        assert engine.shard.transitions == []
    freeze(frozen_.shard, ["shown"])
    for engine in (frozen_, without):
        feed(engine, more(1_200, 1_200))
    assert kept_of(frozen_.shard, 1) == kept_of(without.shard, 1)
    assert frozen_.shard.transitions == without.shard.transitions
    assert len(without.shard.transitions) > 50
    a, b = (engine.learner.predictions[1] for engine in (frozen_, without))
    assert (a.learned, a.goals) == (b.learned, b.goals)
    assert isinstance(a.model, CompiledLogistic)
    assert isinstance(b.model, CompiledLogistic)
    assert a.model.to_bytes() == b.model.to_bytes()


def test_what_is_frozen_keeps_no_example_waiting() -> None:
    engine = engine_of(loads(TEXT.replace("window: 3h", "window: 40h")), 4_800)
    freeze(engine.shard, ["shown"])
    feed(engine, more(4_800, 60))
    engine.take([], START_S + 4_860 * 60.0 + 7 * 3_600.0)
    assert engine.shard.counters()["pending_examples"] <= 70


def test_a_user_who_is_deleted_is_gone_from_it_and_comes_back_without() -> None:
    engine = engine_of()
    freeze(engine.shard, ["shown"])
    counts = int(engine.shard.population.counts[0].sum())
    when = iso(START_S + 80_000.0)
    gone = json.dumps({"type": "delete", "userId": "user-7", "timestamp": when, "messageId": "d"}).encode()
    feed(engine, [gone])
    assert int(engine.shard.population.counts[0].sum()) == counts - 1
    feed(engine, [event("user-7", "View", START_S + 90_000.0, 900_000)])
    assert kept_of(engine.shard)["user-7"] == NOTHING
    assert why(engine.shard)["user-7"] == []


def test_under_another_catalog_it_stays_with_other_columns_everywhere() -> None:
    engine = engine_of()
    freeze(engine.shard, ["shown"])
    before, reasons_before, at_s = kept_of(engine.shard), why(engine.shard), float(engine.shard.frozen_at_s[0])
    engine.saver.take_effects(1, b"")
    new = redefined(engine.shard, OTHERS, generation="g")
    assert new.definitions.layout.columns.features > engine.shard.definitions.layout.columns.features
    assert (kept_of(new), why(new), float(new.frozen_at_s[0])) == (before, reasons_before, at_s)


def changed(**fields: Any) -> Catalog:
    one = SHOWN.predictions["shown"].model_copy(update=fields)
    return SHOWN.model_copy(update={"predictions": {**SHOWN.predictions, "shown": one}})


def test_a_preview_goes_on_only_as_it_is() -> None:
    assert "shown" in kept_predictions(SHOWN, changed(name="Another name"))
    assert "shown" in kept_predictions(LIVE, SHOWN), "what was live is scored by what it knows"
    assert "shown" not in kept_predictions(SHOWN, LIVE)
    assert "shown" not in kept_predictions(SHOWN, changed(access="demo"))
    assert "shown" not in kept_predictions(SHOWN, changed(hysteresis=3.0))


def test_what_warms_up_cannot_be_frozen() -> None:
    shard = lock_step(SHOWN, together(20)).shard
    with pytest.raises(RuntimeError, match="shown warms up"):
        freeze(shard, ["shown"])
