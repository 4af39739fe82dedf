"""The page: head, style, a section for each prediction, segments, the latest transitions."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from config.errors import InputError
from streams.runtime.progress import progress_words
from streams.runtime.report.sections import (
    KIND_WORDS,
    bucket_figure,
    calibration_figure,
    crossings_figure,
    has_quality,
    lift_figure,
    quality_figure,
    segment_figure,
    users_figure,
)
from streams.runtime.report.style import STYLE
from streams.runtime.summary import Category, PredictionSummary, Summary, edges_of
from streams.runtime.transition_log import History, Transition
from streams.runtime.words import NOTHING, cause, count, date, figure, moment, percent, points, quality, rank, span

Row = Sequence[str]


def write_report(path: Path, summary: Summary, history: History, latest: Sequence[Transition]) -> None:
    """Write the page; a reader never sees half of it. Raises InputError when it cannot be written.

    It shows users, so a new one is for its owner alone; one that is written again keeps the rights that it was given.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        rights = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        draft.touch(0o600)
        draft.write_text(page(summary, history, latest), encoding="utf-8")
        draft.chmod(rights)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(str(path), f"the report cannot be written: {error.strerror}") from error


def page(summary: Summary, history: History, latest: Sequence[Transition]) -> str:
    """The whole page as HTML, without any reference to something outside of it."""
    title = escape(f"Tideline: {summary.catalog}")
    body = [_prediction(prediction, history, summary.clock_s) for prediction in summary.predictions]
    body += [_segments(summary, history), _transitions(latest, summary), _foot()]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>"
        f"{_head(summary)}{''.join(body)}</main></body></html>\n"
    )


def _head(summary: Summary) -> str:
    facts = [
        (count(summary.counters["events"]), "events"),
        (count(summary.users), "users"),
        (f"{date(summary.first_time_s)} – {date(summary.clock_s)}", "event time"),
        (count(summary.counters["looks"]), "looks at silent users"),
        (count(summary.transitions), "transitions"),
    ]
    tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(words)}</span></div>" for value, words in facts)
    links = " ".join(f'<a href="#{p.id}">{escape(p.name)}</a>' for p in summary.predictions)
    dead = ""
    if summary.dead_letters:
        reasons = ", ".join(f"{escape(reason)} {number:,}" for reason, number in summary.dead_letters.items())
        dead = f'<p class="warn">{sum(summary.dead_letters.values()):,} records could not be used: {reasons}.</p>'
    return (
        f'<header><p class="brand">Tideline</p><h1>{escape(summary.catalog)}</h1><div class="tiles">{tiles}</div>{dead}'
        f'<nav>{links} <a href="#segments">Segments</a> <a href="#transitions">Last transitions</a></nav>'
        "<p>Everything below judges what was really said at the time, before the outcome was known. Moments at which "
        "a user had just done something and moments of silence are shown apart: the first are harder to "
        "order, and what campaigns act on.</p></header>"
    )


# --- one prediction ------------------------------------------------------------------------------------------------


def _prediction(prediction: PredictionSummary, history: History, clock_s: float | None) -> str:
    kind = "Churn prediction" if prediction.kind == "churn" else "Prediction"
    since = "" if prediction.live_since_s is None else f" since {date(prediction.live_since_s)}"
    head = (
        f'<section id="{prediction.id}"><h2>{escape(prediction.name)}</h2><p class="sub">{kind} '
        f"<code>{prediction.id}</code>, within {span(prediction.window_s)}; {escape(prediction.status)}{since}; "
        f"{count(prediction.audience)} users in its audience; learned from {count(prediction.learned)} outcomes.</p>"
    )
    words = progress_words(prediction, clock_s)
    if words is not None:
        head += f'<p class="warn">It is {escape(words)}.</p>'
    if not has_quality(prediction.judged):
        head += f"<p>{escape(_why_unjudged(prediction))}</p>"
        figures = [users_figure(prediction), crossings_figure(prediction, history)]
        return f'{head}<div class="grid">{"".join(figures)}</div>{_categories(prediction)}</section>'
    figures = [
        bucket_figure(prediction),
        lift_figure(prediction),
        calibration_figure(prediction),
        crossings_figure(prediction, history),
        quality_figure(prediction),
    ]
    grid = "".join(figures)
    return f'{head}{_quality(prediction)}<div class="grid">{grid}</div>{_categories(prediction)}</section>'


def _why_unjudged(prediction: PredictionSummary) -> str:
    """Why there are no figures of quality."""
    lacks = "Lift, calibration and quality are missing, because nothing that was said can be judged yet"
    if prediction.warmup is not None:
        return f"{lacks}: a prediction says no likelihood while it warms up. Who is where is known already."
    return (
        f"{lacks}: no window that began after it went live has closed. Who is where, and who crossed, is known already."
    )


def _quality(prediction: PredictionSummary) -> str:
    rows = []
    for kind, judged in prediction.judged.items():
        served, plain = judged.tideline, judged.heuristic
        if served.n:
            rows.append([
                KIND_WORDS[kind],
                count(served.n),
                percent(served.positives / served.n),
                figure(served.roc_auc),
                figure(plain.roc_auc),
                figure(served.expected_over_observed, ".2f"),
                figure(served.top_decile_lift, ".1f"),
                quality(served.lift_quality, served.band),
            ])  # fmt: skip
    columns = ("moments", "count", "reached the goal", "ROC AUC", "heuristic’s ROC AUC", "expected ÷ observed",
               "top-decile lift", "lift quality")  # fmt: skip
    return _table(columns, rows)


def _categories(prediction: PredictionSummary) -> str:
    population = _table(
        ("category", "users now", "share", "likelihood said", "actual rate"),
        [
            [c.name, count(c.users), percent(c.share), percent(c.mean_likelihood), percent(c.actual_rate)]
            for c in prediction.categories
        ],
    )
    did = "then left" if prediction.kind == "churn" else "then reached the goal"
    crossings = "<p>None: users cross into categories once the prediction is live.</p>"
    if prediction.user_days > 0.0:
        crossings = _crossings(prediction, did)
    said = (
        "Likelihood and rate are means over all judged moments of users in the category."
        if has_quality(prediction.judged)
        else "Likelihood and rate come with the first judged moments."
    )
    return (
        f'<div class="pair"><div><h4>Categories</h4>{population}<p class="cap">{said}</p></div>'
        f"<div><h4>Crossings per 1,000 users and day</h4>{crossings}</div></div>"
    )


def _crossings(prediction: PredictionSummary, did: str) -> str:
    crossings = _table(
        ("into", "the goal’s event", "another event", "silence", "a new model", "undone in a day", "in a week", did),
        [_crossing_row(c, prediction.base_rate) for c in prediction.categories],
    )
    return (
        f'{crossings}<p class="cap">By what caused them. Undone and {did}: of crossings by goal, event and silence; in '
        "brackets how often it happens at all.</p>"
    )


def _crossing_row(category: Category, base_rate: float | None) -> Row:
    entries = category.entries
    rates = entries.per_1000_users_and_day
    by_cause = [rates.goal, rates.event, rates.silence, rates.model] if rates else [None] * 4
    return [
        category.name,
        *(figure(rate, ".2f") for rate in by_cause),
        percent(entries.undone_within_day, 0),
        percent(entries.undone_within_week, 0),
        f"{percent(entries.reached_goal_rate)} ({percent(base_rate)})" if entries.judged else NOTHING,
    ]


# --- segments and transitions -----------------------------------------------------------------------------------------


def _segments(summary: Summary, history: History) -> str:
    own = [segment for segment in summary.segments if "." not in segment.id]
    rows = [
        [f"{s.name} ({s.id})", count(s.members), percent(s.members / summary.users if summary.users else None)]
        for s in own or summary.segments
    ]
    figures = "".join(segment_figure(s.id, s.name, s.members, history) for s in own)
    return (
        f'<section id="segments"><h2>Segments</h2>{_table(("segment", "members now", "of all users"), rows)}'
        f'<div class="grid">{figures}</div></section>'
    )


def _transitions(latest: Sequence[Transition], summary: Summary) -> str:
    ranked = {p.id: p.kind == "churn" for p in summary.predictions if p.scale == "percentile"}
    edges = edges_of(summary)
    rows = []
    for found in latest:
        data = found.data
        rows.append([
            moment(found.time.timestamp()),
            data.user_id,
            f"{'into' if data.in_segment else 'out of'} {data.segment_name}",
            cause(found.cause),
            _score_and_rank(data.score, ranked.get(data.prediction_id or ""), edges.get(data.prediction_id or "", ())),
            percent(data.likelihood),
            "; ".join(reason.words for reason in data.main_reasons(3)) or NOTHING,
        ])  # fmt: skip
    if not rows:
        return '<section id="transitions"><h2>Last transitions</h2><p>None yet.</p></section>'
    columns = (
        "time",
        "user",
        "crossing",
        "because of",
        "score (rank)",
        "likelihood",
        "main reasons, effect on the logit",
    )
    table = _table(columns, rows, words_from=0)
    return f'<section id="transitions"><h2>Some of the last transitions</h2>{table}</section>'


def _score_and_rank(score: float | None, risk: bool | None, edges: Sequence[float]) -> str:
    """`risk`: whether it is one of churn; None for a score that is no rank."""
    if score is None or risk is None:
        return points(score, edges)
    return f"{points(score, edges)} ({rank(score, risk=risk)})"


def _table(columns: Iterable[str], rows: Iterable[Row], words_from: int | None = None) -> str:
    """A table whose first column is text and whose others are numbers; with `words_from` all are text."""
    kind = "numbers" if words_from is None else "words"
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _foot() -> str:
    return (
        "<footer><p><b>Words.</b> <i>Likelihood</i>: how probable it is that the goal happens within the window. "
        "<i>Score</i>: 0 to 100, the rank of the likelihood in today’s audience, unless said otherwise. <i>Moment</i>: "
        "a point in time at which a user was scored. <i>Crossing</i>: a user’s change from one category to another. "
        "<i>Undone</i>: the user left the category again.</p></footer>"
    )
