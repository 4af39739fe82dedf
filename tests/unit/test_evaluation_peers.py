"""The peers: each learns what was known, nothing of what came later, and says what its own library says."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from functools import cache

import lightgbm
import numpy as np
import pytest
from river import linear_model, optim, preprocessing

from config.catalog import Prediction
from config.errors import ModelUnknown, SettingsError
from models.jit import F64
from streams.runtime.evaluation import lightgbm_peer
from streams.runtime.evaluation.bgnbd import GoalHistory, Habits, fit
from streams.runtime.evaluation.peers import PEERS, Answer, Refusal, ask, check_peers, history_event
from streams.runtime.evaluation.points import Points
from tests.unit.evaluation_world import DAY_S, NAMES, World, make_world, prediction

HOUR_S = 3_600.0


@cache
def world() -> World:
    return make_world(seed=11, users=120)


@cache
def points() -> Points:
    return world().points(prediction())


def histories(until_s: float = np.inf) -> dict[str, GoalHistory]:
    w = world()
    return {"Order": GoalHistory.of(w.user[w.time_s <= until_s], w.time_s[w.time_s <= until_s])}


def answer(name: str, some: Points, known: Mapping[str, GoalHistory] | None = None) -> F64:
    found = ask(name, some, some.judged, histories() if known is None else known, lambda _done: None)
    assert isinstance(found, Answer)
    return found.score


@pytest.mark.parametrize("name", ["tideline", *PEERS])
def test_what_was_not_known_yet_changes_nothing(name: str) -> None:
    some = points()
    at_s = some.training_times_s[2] + 3.6 * DAY_S
    later = np.arange(len(some)) >= some.known_at(at_s)
    future = later & (some.time_s > at_s)
    assert 100 < future.sum() < later.sum() < len(some)
    x = np.array(some.x)
    x[future] = -x[future]
    changed = dataclasses.replace(some, y=np.where(later, 1 - some.y, some.y).astype(np.uint8), x=x)
    assert changed.judged.tolist() == some.judged.tolist()
    before = some.time_s[some.judged] <= at_s
    first, second = answer(name, some), answer(name, changed, histories(until_s=at_s))
    assert first[before].tolist() == second[before].tolist()
    if name in ("lightgbm", "river", "bgnbd"):
        assert first[~before].tolist() != second[~before].tolist()


def test_tideline_and_heuristic_are_what_was_served() -> None:
    some = points()
    assert answer("tideline", some).tolist() == some.likelihood[some.judged].tolist()
    found = ask("heuristic", some, some.judged, {}, lambda _done: None)
    assert isinstance(found, Answer)
    assert found.score.tolist() == some.heuristic[some.judged].tolist()
    assert not found.is_likelihood


def test_river_is_the_river_pipeline_with_labels_as_of_the_last_whole_hour() -> None:
    some = points()
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(
        optimizer=optim.FTRLProximal(alpha=0.05, beta=1.0, l1=0.0, l2=0.0)
    )
    learned = 0
    expected = []
    for row in some.judged.tolist():
        hour_s = some.time_s[row] // HOUR_S * HOUR_S
        while (np.floor((some.time_s[learned] + world().window_s) / HOUR_S) + 1) * HOUR_S <= hour_s:
            model.learn_one(dict(zip(NAMES, some.x[learned].tolist(), strict=True)), bool(some.y[learned]))
            learned += 1
        expected.append(model.predict_proba_one(dict(zip(NAMES, some.x[row].tolist(), strict=True)))[True])
    assert learned > 1_000
    assert answer("river", some) == pytest.approx(np.array(expected), abs=1e-9)


def test_lightgbm_is_trained_every_7_days_on_what_was_known() -> None:
    some = points()
    found = answer("lightgbm", some)
    week_s = some.training_times_s[1]
    known = (some.matured_s <= week_s).nonzero()[0]
    booster = lightgbm.train(
        {"objective": "binary", "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 20, "verbosity": -1,
         "deterministic": True, "force_row_wise": True, "seed": 1, "num_threads": 2},
        lightgbm.Dataset(np.array(some.x[known]), some.y[known]),
        num_boost_round=100,
    )  # fmt: skip
    judged_s = some.time_s[some.judged]
    week = (judged_s >= week_s) & (judged_s < week_s + 7 * DAY_S)
    assert week.sum() > 20
    assert found[week] == pytest.approx(booster.predict(np.array(some.x[some.judged[week]])), abs=1e-12)
    assert [lightgbm_peer.min_leaf_examples(n) for n in (10, 30_000, 10**7)] == [20, 60, 200]


def test_peers_learn_with_the_weights_of_the_examples() -> None:
    some = points()
    heavy = dataclasses.replace(some, weight=np.where(some.y == 1, 9.0, 1.0).astype(np.float32))
    for name in ("lightgbm", "river"):
        assert answer(name, heavy).mean() > answer(name, some).mean() + 0.15


def test_bgnbd_is_fitted_every_30_days_on_purchases_so_far() -> None:
    some = points()
    found = answer("bgnbd", some)
    w = world()
    fit_s = some.training_times_s[0] + 30 * DAY_S

    def habits(user: int, now_s: float) -> tuple[float, float, float] | None:
        days = sorted(set((w.time_s[(w.user == user) & (w.time_s <= now_s)] // DAY_S).tolist()))
        firsts = [float(w.time_s[(w.user == user) & (w.time_s // DAY_S == day)].min()) for day in days]
        if not firsts:
            return None
        return len(firsts) - 1, (firsts[-1] - firsts[0]) / DAY_S, (now_s - firsts[0]) / DAY_S

    def table(rows: list[tuple[float, float, float] | None]) -> Habits:
        columns = np.array([row for row in rows if row is not None], dtype=np.float64)
        return Habits(columns[:, 0], columns[:, 1], columns[:, 2])

    model = fit(table([habits(user, fit_s) for user in range(120)]))
    chosen = [
        (place, row) for place, row in enumerate(some.judged.tolist()) if fit_s <= some.time_s[row] < fit_s + 30 * DAY_S
    ][::7]
    asked = table([habits(int(some.user[row]), float(some.time_s[row])) for _, row in chosen])
    assert len(chosen) > 20
    # The search for the parameters starts elsewhere (at the fit before), so it ends near, not at the same digits.
    assert found[[place for place, _ in chosen]] == pytest.approx(model.buys_within(asked, 7.0), abs=1e-3)


def test_bgnbd_answers_the_negation_with_the_rest() -> None:
    w = world()
    negated = w.points(prediction(goal={"did_not": "Order"}))
    negated = dataclasses.replace(negated, y=(1 - negated.y).astype(np.uint8))
    assert answer("bgnbd", negated) == pytest.approx(1 - answer("bgnbd", points()), abs=1e-12)


def test_bgnbd_gives_who_never_bought_the_rate_of_their_kind() -> None:
    some = points()
    w = world()
    even = w.user % 2 == 0
    found = answer("bgnbd", some, {"Order": GoalHistory.of(w.user[even], w.time_s[even])})
    fit_s = some.training_times_s[0]
    known = some.y[(some.matured_s <= fit_s) & (some.user % 2 == 1)]
    rows = (some.user[some.judged] % 2 == 1) & (some.time_s[some.judged] < fit_s + 30 * DAY_S)
    assert rows.sum() > 20
    rate = (int(known.astype(int).sum()) + 1) / (len(known) + 2)
    assert found[rows] == pytest.approx(np.full(int(rows.sum()), rate))


@pytest.mark.parametrize(
    ("goal", "event"),
    [
        ({"did": "Order"}, "Order"),
        ({"did_not": "Order"}, "Order"),
        ({"all": [{"did": "Order"}]}, "Order"),
        ({"any": [{"did": "Order"}, {"did": "Visit"}]}, None),
        ({"did": "Order", "where": {"country": "NO"}}, None),
    ],
)
def test_bgnbd_needs_one_plain_event(goal: dict[str, object], event: str | None) -> None:
    asked: Prediction = prediction(goal=goal)
    assert history_event(asked) == event
    found = ask("bgnbd", world().points(asked), points().judged, histories(), lambda _done: None)
    assert isinstance(found, Refusal) == (event is None)


def test_bgnbd_says_why_it_cannot_be_fitted() -> None:
    w = world()
    firsts = GoalHistory.of(np.arange(120, dtype=np.uint64), np.full(120, w.start_s))
    found = ask("bgnbd", points(), points().judged, {"Order": firsts}, lambda _done: None)
    assert isinstance(found, Refusal)
    assert "second day" in found.reason


def test_names_are_checked_before_the_long_run() -> None:
    assert check_peers(["river", "tideline", "heuristic", "river"]) == ("river", "heuristic")
    with pytest.raises(SettingsError, match=r"xgboost.*heuristic, lightgbm, bgnbd, river"):
        check_peers(["heuristic", "xgboost"])


def test_a_missing_lightgbm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ModelUnknown, match=r"pip install -e '\.\[peers\]'"):
        check_peers(["lightgbm"])
    assert check_peers(["heuristic"]) == ("heuristic",)
