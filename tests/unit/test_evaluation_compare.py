"""The report: a world whose truth is known, end to end, and the shape that scripts rely on."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
from rich.console import Console

from models import metrics
from streams.runtime.evaluation import compare
from streams.runtime.evaluation.bgnbd import GoalHistory
from streams.runtime.evaluation.compare import Report, evaluate
from streams.runtime.evaluation.points import Points
from streams.runtime.evaluation.table import tables
from tests.unit.evaluation_world import DAY_S, NAMES, World, make_world, prediction

ALL = ("heuristic", "lightgbm", "bgnbd", "river")
KEYS = {
    "n", "positives", "roc_auc", "roc_auc_minus_tideline", "roc_auc_minus_tideline_se", "average_precision",
    "normalized_entropy", "expected_over_observed", "top_decile_lift", "lift_quality",
}  # fmt: skip


@cache
def world() -> World:
    return make_world(seed=21, users=400)


def history(some: World) -> dict[str, GoalHistory]:
    return {"Order": GoalHistory.of(some.user, some.time_s)}


@cache
def report() -> Report:
    return evaluate({"orders": world().points(prediction())}, history(world()), ALL)


def test_the_truth_is_calibrated_and_beats_every_peer_by_no_more_than_luck() -> None:
    for part in ("events", "silent"):
        models = report().predictions["orders"].slices[part]
        truth = models["tideline"]
        assert truth.n > 1_000
        assert truth.expected_over_observed == pytest.approx(1.0, abs=0.1)
        assert truth.normalized_entropy is not None
        assert truth.normalized_entropy < 0.95
        for name in ("lightgbm", "river", "bgnbd"):
            peer = models[name]
            assert peer.roc_auc_minus_tideline is not None
            assert peer.roc_auc_minus_tideline_se is not None
            assert peer.roc_auc_minus_tideline < 2 * peer.roc_auc_minus_tideline_se
            assert peer.roc_auc_minus_tideline > -0.1
            assert peer.expected_over_observed == pytest.approx(1.0, abs=0.2)
            assert peer.normalized_entropy is not None
            assert peer.normalized_entropy > truth.normalized_entropy
        assert models["heuristic"].roc_auc == pytest.approx(0.5, abs=0.05)
        assert models["heuristic"].normalized_entropy is None
        assert models["heuristic"].expected_over_observed is None


def test_river_learns_the_log_linear_truth() -> None:
    models = report().predictions["orders"].slices["silent"]
    assert models["river"].roc_auc_minus_tideline == pytest.approx(0.0, abs=0.01)


def test_figures_are_those_of_the_judged_points_of_the_slice() -> None:
    points = world().points(prediction())
    rows = points.judged
    young = points.x[rows][:, 0] < np.log1p(7.0)
    masks = {"events": points.kind[rows] == 0, "silent": points.kind[rows] == 1, "young": young}
    for part, mask in masks.items():
        chosen = rows[mask]
        found = report().predictions["orders"].slices[part]["tideline"]
        y, p = points.y[chosen], points.likelihood[chosen].astype(np.float64)
        assert found.n == len(chosen) > 100
        assert found.positives == y.astype(int).sum()
        assert found.roc_auc == metrics.roc_auc(y, p)
        assert found.average_precision == metrics.average_precision(y, p)
        assert found.normalized_entropy == metrics.normalized_entropy(y, p)
        assert found.expected_over_observed == metrics.expected_over_observed(y, p)
        assert found.top_decile_lift == metrics.top_decile_lift(y, p)
        assert found.lift_quality == metrics.lift_quality(y, p)
        assert found.roc_auc_minus_tideline is None
        assert found.roc_auc_minus_tideline_se is None
    peer = report().predictions["orders"].slices["events"]["heuristic"]
    chosen = rows[masks["events"]]
    resampled = metrics.auc_resamples(
        points.y[chosen], [points.likelihood[chosen], points.heuristic[chosen]], points.user[chosen], seed=1
    )
    error = metrics.difference_error(resampled[:, 1], resampled[:, 0])
    assert error is not None
    assert peer.roc_auc_minus_tideline_se == pytest.approx(error)


def test_weights_count_in_the_figures() -> None:
    points = world().points(prediction())
    heavy = dataclasses.replace(points, weight=(1 + points.user % 3).astype(np.float32))
    chosen = points.judged[points.kind[points.judged] == 1]
    found = evaluate({"orders": heavy}, {}, ()).predictions["orders"].slices["silent"]["tideline"]
    assert found.roc_auc == metrics.roc_auc(points.y[chosen], points.likelihood[chosen], heavy.weight[chosen])
    assert found.n == len(chosen)


def refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


def test_json_has_the_documented_shape() -> None:
    found = json.loads(report().to_json(), parse_constant=refuse_constant)
    assert set(found) == {"predictions", "refused", "not_judged", "judged"}
    assert list(found["predictions"]) == ["orders"]
    assert list(found["predictions"]["orders"]) == ["events", "silent", "young"]
    for models in found["predictions"]["orders"].values():
        assert list(models) == ["tideline", *ALL]
        for figures in models.values():
            assert set(figures) == KEYS
            assert isinstance(figures["n"], int)
            assert isinstance(figures["positives"], int)
    assert found["refused"] == found["not_judged"] == {}
    assert found["judged"]["orders"]["from_s"] >= world().start_s
    assert found["judged"]["orders"]["to_s"] <= world().end_s - world().window_s


def test_a_second_run_says_the_same() -> None:
    again = evaluate({"orders": world().points(prediction(), chunk_rows=77)}, history(world()), ALL)
    assert again.to_json() == report().to_json()


def only(points: Points, rows: int) -> Points:
    names = ("x", "y", "time_s", "matured_s", "user", "kind", "weight", "likelihood", "heuristic")
    return dataclasses.replace(points, **{name: getattr(points, name)[:rows] for name in names})


def test_no_points_give_counts_of_zero_and_null() -> None:
    empty = only(world().points(prediction()), 0)
    found = evaluate({"orders": empty}, history(world()), ALL)
    for models in json.loads(found.to_json())["predictions"]["orders"].values():
        for figures in models.values():
            assert figures["n"] == figures["positives"] == 0
            assert {value for key, value in figures.items() if key not in ("n", "positives")} == {None}
    words = "nobody was in the audience 7 days or longer before the end"
    assert found.as_dict()["not_judged"] == {"orders": dict.fromkeys(compare.SLICES, words)}
    assert f"Orders (orders): nothing to judge, because {words}" in " ".join(printed(found).split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"days": 73.5}, "the history is too short: it has 73 days, and at least 74 days are needed (7 days until the"),
        ({"y": 0}, "no moment was followed by the goal within 7 days"),
        ({"y": 1}, "every moment was followed by the goal within 7 days"),
    ],
)
def test_without_a_point_to_judge_it_is_said_why(change: dict[str, float], words: str) -> None:
    points = world().points(prediction())
    labels = np.full_like(points.y, change["y"]) if "y" in change else points.y
    end_s = points.start_s + change["days"] * DAY_S if "days" in change else points.end_s
    changed = dataclasses.replace(points, y=labels, end_s=end_s)
    report_ = evaluate({"orders": changed}, {}, ())
    assert words in report_.predictions["orders"].not_judged["events"]
    text = " ".join(printed(report_).split())
    assert text.count("nothing to judge") == 1
    assert words in text


def test_an_empty_slice_says_why_and_the_others_are_shown() -> None:
    points = world().points(prediction())
    found = evaluate({"orders": dataclasses.replace(points, kind=np.zeros_like(points.kind))}, {}, ())
    assert list(found.predictions["orders"].not_judged) == ["silent"]
    text = " ".join(printed(found).split())
    assert "while silent, one moment a week: nothing to judge, because no user of the audience was silent" in text
    assert "at events: " in text


def test_just_enough_history_is_judged() -> None:
    points = world().points(prediction())
    enough = dataclasses.replace(points, end_s=points.start_s + 75 * DAY_S)
    assert len(enough.judged)


def test_a_refused_model_keeps_its_place_with_the_reason() -> None:
    asked = prediction(goal={"any": [{"did": "Order"}, {"did": "Visit"}]})
    found = evaluate({"orders": world().points(asked)}, {}, ["bgnbd", "heuristic"])
    data = found.as_dict()
    assert "plain" in data["refused"]["orders"]["bgnbd"]
    models = data["predictions"]["orders"]["silent"]
    assert list(models) == ["tideline", "bgnbd", "heuristic"]
    assert models["bgnbd"]["n"] == models["tideline"]["n"]
    assert models["bgnbd"]["positives"] == models["tideline"]["positives"]
    assert models["bgnbd"]["roc_auc"] is None
    assert "bgnbd: BG/NBD answers" in printed(found)


def printed(some: Report) -> str:
    console = Console(width=80, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as capture:
        for table in tables(some):
            console.print(table)
    return capture.get()


def test_tables_show_every_figure_with_the_band_of_lift_quality() -> None:
    text = printed(report())
    assert text.count("Orders (orders)") == 3
    assert "at events" in text
    models = report().predictions["orders"].slices["silent"]
    for name, figures in models.items():
        assert figures.roc_auc is not None
        assert figures.lift_quality is not None
        line = next(line for line in text.split("silent")[1].splitlines() if line.split()[:1] == [name])
        assert f"{figures.roc_auc:.3f}" in line
        assert f"{figures.lift_quality:.0f} {metrics.band(figures.lift_quality)}" in line
        if name != "tideline":
            assert f"{figures.roc_auc_minus_tideline:+.4f} ±{figures.roc_auc_minus_tideline_se:.4f}" in line
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_names_from_a_catalog_are_text_and_not_markup() -> None:
    points = world().points(prediction())
    odd = dataclasses.replace(points, prediction=points.prediction.model_copy(update={"name": "[red]50%[/red] off"}))
    assert "[red]50%[/red] off" in printed(evaluate({"orders": odd}, {}, ()))


def test_progress_is_told_for_every_model_and_ends_at_one() -> None:
    seen: dict[tuple[str, str], list[float]] = {}

    def progress(key: str, name: str, done: float) -> None:
        seen.setdefault((key, name), []).append(done)

    evaluate({"orders": world().points(prediction())}, history(world()), ["heuristic", "bgnbd", "river"], progress)
    assert list(seen) == [("orders", name) for name in ("tideline", "heuristic", "bgnbd", "river")]
    for told in seen.values():
        assert told == sorted(told)
        assert told[-1] == 1.0
    assert len(seen["orders", "river"]) > 100


def test_age_is_found_by_its_name() -> None:
    assert compare.YOUNG_DAYS == 7.0
    points = world().points(prediction())
    shuffled = dataclasses.replace(
        points, x=np.ascontiguousarray(np.asarray(points.x)[:, ::-1]), feature_names=NAMES[::-1]
    )
    first, second = (evaluate({"orders": some}, {}, ()).as_dict()["predictions"] for some in (points, shuffled))
    assert first == second
