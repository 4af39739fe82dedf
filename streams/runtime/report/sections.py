"""The parts of the report: one figure a function, each with a legend and a few plain words under it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from models.quality import WEEK_S
from streams.runtime.report.charts import (
    Axis,
    Plot,
    auc_axis,
    count_axis,
    legend,
    number_axis,
    percent_axis,
    share_axis,
    time_axis,
)
from streams.runtime.summary import Judged, PredictionSummary, Week
from streams.runtime.transition_log import CAUSES, History
from streams.runtime.words import count, date, figure, percent

KIND_WORDS: Final = {"events": "at events", "silent": "while silent"}
SMALL: Final = 380.0
"""Width of a plot that stands beside two others."""
MIN_IN_WEEK: Final = 50
"""Weeks with fewer moments are left out of the plots of quality: their figures are mostly chance."""
_STACK: Final = (("goal", "the goal's event"), ("event", "another event"), ("silence", "silence"))


def figure_box(title: str, body: str, words: str, *, wide: bool = False) -> str:
    """A figure with its title and the explanation under it; a wide one takes the whole width of the page."""
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}><h4>{escape(title)}</h4>{body}<figcaption>{words}</figcaption></figure>"


# --- the score ----------------------------------------------------------------------------------------------------


def bucket_figure(prediction: PredictionSummary) -> str:
    """Users, mean likelihood and actual rate per score bucket."""
    buckets = prediction.buckets
    width = buckets[0].high - buckets[0].low
    rates = [value for b in buckets for value in (b.mean_likelihood, b.actual_rate) if value is not None]
    score = _score_axis(prediction)
    upper = Plot(score, percent_axis(rates, "of moments"), _bucket_words(prediction), height=220.0)
    said = [(b.low + width / 2, b.mean_likelihood) for b in buckets]
    upper.line([(x, y if y is not None else float("nan")) for x, y in said], "said")
    for b in buckets:
        if b.actual_rate is not None:
            words = (
                f"{prediction.score_name} {b.low:.0f} to {b.high:.0f}: {percent(b.mean_likelihood)} said, "
                f"{percent(b.actual_rate)} happened, {count(b.judged)} judged moments"
            )
            upper.dot(b.low + width / 2, b.actual_rate, "actual", words)
    keys = legend(
        ("line", "said", "mean likelihood that was said"),
        ("dot", "actual", "how often it happened"),
        ("bar", "users", "users in the bucket now"),
    )
    return figure_box(
        f"What a {prediction.score_name} means", keys + upper.svg() + _users_plot(prediction), _bucket_words(prediction)
    )


def users_figure(prediction: PredictionSummary) -> str:
    """Users per score bucket, where nothing is judged yet."""
    words = "How many users stand where. What a score means comes with the first judged moments."
    return figure_box("Users by score", legend(("bar", "users", "users now")) + _users_plot(prediction), words)


def _score_axis(prediction: PredictionSummary) -> Axis:
    return number_axis([100.0], prediction.score_name, lambda value: f"{value:.0f}", parts=5)


def _users_plot(prediction: PredictionSummary) -> str:
    axis = count_axis([b.users for b in prediction.buckets], "users now", parts=3)
    plot = Plot(_score_axis(prediction), axis, "users per bucket", height=140.0)
    for b in prediction.buckets:
        plot.bar(b.low, b.high, (0.0, b.users), "users", f"{b.low:.0f} to {b.high:.0f}: {count(b.users)} users now")
    return plot.svg()


def _bucket_words(prediction: PredictionSummary) -> str:
    name = prediction.score_name
    if prediction.scale == "probability":
        return (
            f"The {name} is 100 times the likelihood. Above: for each five points, the likelihood that was said and "
            "how often it then happened; the closer the dots are to the line, the more the likelihood can be taken at "
            "its word. Below: how many users stand where."
        )
    return (
        f"The {name} is a <b>rank</b> in the audience, not a probability: 90 means in the top tenth. So about as many "
        "users stand in every bucket (below), unless many look exactly alike. How probable the goal is at each rank is "
        "the line above, and the dots show how often it really happened."
    )


def lift_figure(prediction: PredictionSummary) -> str:
    """Gains over audience sizes."""
    churn = prediction.kind == "churn"
    x = "share of the audience, riskiest first" if churn else "share of the audience, best first"
    plot = Plot(share_axis(x), share_axis("share of all who did"), "Lift curve", height=290.0)
    plot.line([(0.0, 0.0), (1.0, 1.0)], "chance")
    keys = [("line", "chance", "a random choice")]
    sentence = ""
    for kind, judged in prediction.judged.items():
        if judged.lift:
            plot.line(judged.lift, kind)
            keys.append(
                ("line", kind, f"{KIND_WORDS[kind]} (lift quality {figure(judged.tideline.lift_quality, '.0f')})")
            )
            gain = next((gain for share, gain in judged.lift if share >= 0.2), None)
            if kind == "events" and gain is not None:
                sentence = f" Here the first fifth of the moments at events holds {percent(gain, 0)} of them."
    did = "who left" if churn else "who reached the goal"
    words = (
        f"If you pick the first so many percent by {prediction.score_name}, you get so many percent of all {did}. The "
        f"further the curve is above the diagonal, the better.{sentence} Lift quality sums it up over all audience "
        "sizes: 0 is random, 100 perfect."
    )
    return figure_box("Lift", legend(*keys) + plot.svg(), words)


def calibration_figure(prediction: PredictionSummary) -> str:
    """Said against happened."""
    groups = [(kind, group) for kind, judged in prediction.judged.items() for group in judged.calibration]
    values = [value for _, group in groups for value in (group.mean_likelihood, group.actual_rate)]
    x, y = percent_axis(values, "likelihood that was said"), percent_axis(values, "how often it happened")
    plot = Plot(x, y, "Calibration")
    plot.line([(0.0, 0.0), (x.high, x.high)], "chance")
    for kind, group in groups:
        said, happened = percent(group.mean_likelihood), percent(group.actual_rate)
        words = f"{KIND_WORDS[kind]}: {said} said, {happened} happened, {count(group.weight)} moments"
        plot.dot(group.mean_likelihood, group.actual_rate, kind, words)
    keys = [("line", "chance", "said = happened")]
    keys += [
        (
            "dot",
            kind,
            f"{KIND_WORDS[kind]} (expected ÷ observed {figure(judged.tideline.expected_over_observed, '.2f')})",
        )
        for kind, judged in prediction.judged.items()
        if judged.calibration
    ]
    words = (
        "Each dot is a twentieth of the moments, grouped by the likelihood that was said. On the diagonal what was "
        "said is what happened; below it too much was promised. Expected ÷ observed is the same over all: 1 is right."
    )
    return figure_box("Can the likelihood be taken at its word?", legend(*keys) + plot.svg(), words)


# --- over time ------------------------------------------------------------------------------------------------------


def quality_figure(prediction: PredictionSummary) -> str:
    """ROC AUC per week beside the heuristic, and expected over observed."""
    weeks = {kind: [w for w in judged.weeks if w.n >= MIN_IN_WEEK] for kind, judged in prediction.judged.items()}
    all_weeks = [week for of_kind in weeks.values() for week in of_kind]
    if not all_weeks:
        return ""
    ends = min(w.start_s for w in all_weeks), max(w.start_s for w in all_weeks) + WEEK_S
    body = ""
    for kind, of_kind in weeks.items():
        if of_kind:
            served = ("line", kind, f"Tideline {KIND_WORDS[kind]}")
            keys = legend(served, ("line", "heuristic", "the heuristic"))
            body += f"<div>{keys}{_auc_plot(kind, of_kind, ends)}</div>"
    keys = legend(*(("line", kind, f"expected ÷ observed {KIND_WORDS[kind]}") for kind, of in weeks.items() if of))
    body = f'<div class="row">{body}<div>{keys}{_ratio_plot(weeks, ends)}</div></div>'
    words = (
        "Week by week: how well the moments of that week were ordered (ROC AUC; .5 is chance, 1 perfect), beside the "
        "plain rule “many lately, and not long ago” that Tideline has to beat; and expected ÷ observed. "
        f"Weeks with fewer than {MIN_IN_WEEK} moments are left out. A step down is a change in how people behave; the "
        "model forgets slowly and follows."
    )
    return figure_box("Quality over time", body, words, wide=True)


def _auc_plot(kind: str, weeks: Sequence[Week], ends: tuple[float, float]) -> str:
    values = [v for w in weeks for v in (w.roc_auc, w.heuristic_roc_auc) if v is not None]
    axis = auc_axis(values, "ROC AUC")
    plot = Plot(time_axis(*ends, most=5), axis, f"ROC AUC over time {KIND_WORDS[kind]}", height=210.0, width=SMALL)
    plot.line([(_middle(w), _or_gap(w.heuristic_roc_auc)) for w in weeks], "heuristic")
    plot.line([(_middle(w), _or_gap(w.roc_auc)) for w in weeks], kind)
    for w in weeks:
        if w.roc_auc is not None:
            words = (
                f"week of {date(w.start_s)}: {w.roc_auc:.3f}, heuristic {figure(w.heuristic_roc_auc)}; {count(w.n)} "
                f"moments, {count(w.positives)} reached the goal"
            )
            plot.dot(_middle(w), w.roc_auc, "spot", words, 5.0)
    return plot.svg()


def _ratio_plot(weeks: dict[str, list[Week]], ends: tuple[float, float]) -> str:
    values = [w.expected_over_observed for of in weeks.values() for w in of if w.expected_over_observed is not None]
    highest = min(3.0, max([1.5, *values]))
    axis = number_axis([highest], "", lambda value: f"{value:.2g}", parts=4)
    plot = Plot(time_axis(*ends, most=5), axis, "Expected over observed over time", height=210.0, width=SMALL)
    plot.level(1.0, "right")
    for kind, of_kind in weeks.items():
        plot.line([(_middle(w), _or_gap(w.expected_over_observed)) for w in of_kind], kind)
    return plot.svg()


def _middle(week: Week) -> float:
    return week.start_s + WEEK_S / 2


def _or_gap(value: float | None) -> float:
    return float("nan") if value is None else value


def crossings_figure(prediction: PredictionSummary, history: History) -> str:
    """Entries into the categories per week, by cause."""
    weeks = history.weeks
    names = [f"{prediction.id}.{category.id}" for category in prediction.categories]
    by_week = {start: dict.fromkeys(CAUSES, 0) for start in weeks}
    for name in names:
        for start, causes in history.entered.get(name, {}).items():
            for cause, number in causes.items():
                by_week[start][cause] += number
    if not any(sum(causes.values()) for causes in by_week.values()):
        return ""
    ends = weeks[0], weeks[-1] + WEEK_S
    told = Plot(
        time_axis(*ends),
        count_axis([sum(c[cause] for cause, _ in _STACK) for c in by_week.values()], "per week", parts=4),
        "Crossings over time by cause",
        height=190.0,
    )
    for start, causes in by_week.items():
        floor = 0
        for cause, words in _STACK:
            if causes[cause]:
                label = f"week of {date(start)}: {count(causes[cause])} by {words}"
                told.bar(start, start + WEEK_S, (floor, floor + causes[cause]), cause, label)
                floor += causes[cause]
    model = Plot(
        time_axis(*ends),
        count_axis([c["model"] for c in by_week.values()], "per week", parts=3),
        "Crossings over time by new models",
        height=140.0,
    )
    for start, causes in by_week.items():
        if causes["model"]:
            label = f"week of {date(start)}: {count(causes['model'])} by new models"
            model.bar(start, start + WEEK_S, (0, causes["model"]), "model", label)
    body = legend(*(("bar", cause, words) for cause, words in _STACK)) + told.svg()
    body += legend(("bar", "model", "a new model, or going live")) + model.svg()
    words = (
        "Users who came into a category, by what caused it. <b>Above</b> are the crossings that say something about a "
        "user: somebody did something, or stayed away. <b>Below</b> are those where only the model's view of the "
        "population moved; the first large bar is everybody's first category when the prediction went live. Campaigns "
        "act on the ones above."
    )
    return figure_box("Crossings over time", body, words)


def segment_figure(name: str, title: str, members: int, history: History) -> str:
    """Entries and exits of one segment per week."""
    weeks = history.weeks
    if not weeks:
        return ""
    entered = {start: sum(causes.values()) for start, causes in history.entered.get(name, {}).items()}
    exited = history.exited.get(name, {})
    top = max([0, *entered.values()])
    bottom = max([0, *exited.values()])
    if not top and not bottom:
        return ""
    axis = count_axis([top], "out, in per week", below=bottom, parts=4)
    plot = Plot(time_axis(weeks[0], weeks[-1] + WEEK_S), axis, f"Entries and exits of {title}", height=170.0)
    for start, number in entered.items():
        plot.bar(start, start + WEEK_S, (0, number), "into", f"week of {date(start)}: {count(number)} entered")
    for start, number in exited.items():
        plot.bar(start, start + WEEK_S, (-number, 0), "outof", f"week of {date(start)}: {count(number)} left")
    keys = legend(("bar", "into", "entered"), ("bar", "outof", "left"))
    words = f"<code>{escape(name)}</code> has {count(members)} members now."
    return figure_box(title, keys + plot.svg(), words)


def has_quality(judged: dict[str, Judged]) -> bool:
    """Whether anything that was served has been judged."""
    return any(part.tideline.n for part in judged.values())
