"""Tables of what is stored and what a run has come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from config.durations import format_duration
from streams.runtime.progress import progress_words
from streams.runtime.words import (
    NOTHING,
    cause,
    count,
    date,
    figure,
    moment,
    percent,
    points,
    printable,
    quality,
    short_percent,
)

if TYPE_CHECKING:
    from config.catalog import Prediction
    from models.quality import Figures
    from streams.runtime.missing import MissingEvent
    from streams.runtime.summary import Category, PredictionSummary, SegmentSummary, Summary
    from streams.runtime.transition_log import Transition

MOMENTS: Final = {"events": "at events", "silent": "while silent"}
_REASONS: Final = 3


def plain_table(*columns: str, title: str | None = None, caption: str | None = None) -> Table:
    """A table without lines, to fit into 80 columns; a column that begins with `>` is a number. Fill it with `add`."""
    table = Table(
        title=None if title is None else Text(title, style="bold"),
        caption=None if caption is None else Text(caption, style="dim"),
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        title_justify="left",
        caption_justify="left",
        title_style="",
        pad_edge=False,
    )
    for column in columns:
        heading = column.removeprefix(">")
        # On a narrow terminal cells are broken into lines, but no word of a heading is.
        width = max((len(word) for word in heading.split()), default=0)
        table.add_column(Text(heading), justify="right" if column.startswith(">") else "left", min_width=width)
    return table


def add(table: Table, *cells: str, style: str | None = None) -> None:
    """A row of texts: what users and catalogs are called is no markup, and no command to the terminal."""
    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def goal_words(prediction: Prediction) -> str:
    """`did Order Completed or did not Order Refunded`"""
    goal = prediction.goal
    atoms = [
        f"{'did not' if atom.negated else 'did'} {atom.event}" + (" (with conditions)" if atom.where else "")
        for atom in goal.atoms
    ]
    return f" {'or' if goal.join == 'any' else 'and'} ".join(atoms)


def summary_tables(summary: Summary) -> Iterator[Table | Text]:
    """Everything that a run ends with, but the transitions."""
    yield head(summary)
    judged = [p for p in summary.predictions if any(part.tideline.n for part in p.judged.values())]
    if judged:
        yield quality_table(judged)
    yield population_table(summary.predictions)
    live = [prediction for prediction in summary.predictions if prediction.user_days > 0.0]
    if live:
        yield crossings_table(live)
    yield from progress_lines(summary)
    own = [segment for segment in summary.segments if "." not in segment.id]
    if own:
        yield segments_table(own, summary.users)
    yield from missing_event_lines(summary.missing_events)
    yield from dead_letter_lines(summary)


def head(summary: Summary) -> Text:
    """What was read, in one line."""
    text = Text()
    text.append(printable(summary.catalog), style="bold")
    since = "" if summary.first_time_s is None else f"{date(summary.first_time_s)} "
    text.append(f": {count(summary.counters['events'])} events of {count(summary.users)} users, ")
    text.append(f"{since}to {date(summary.clock_s)}; {count(summary.counters['looks'])} looks at silent users")
    if summary.transitions is not None:
        text.append(f"; {count(summary.transitions)} transitions")
    return text


def quality_table(predictions: Iterable[PredictionSummary]) -> Table:
    """Quality of what was served, beside the heuristic."""
    table = plain_table(
        "moments",
        ">count",
        ">goal\nreached",
        ">ROC\nAUC",
        ">heuristic’s\nROC AUC",
        ">expected ÷\nobserved",
        ">lift\nquality",
        title="How good was what was said? (judged before the outcome was known)",
        caption="ROC AUC: .5 is chance, 1 perfect. Heuristic: log frequency − 0.7 log recency. Expected ÷ observed: 1 "
        "is right. Lift quality: 0 random, 100 perfect.",
    )
    for prediction in predictions:
        add(table, prediction.id, style="bold")
        for kind, judged in prediction.judged.items():
            add(table, f"  {MOMENTS[kind]}", *_quality_cells(judged.tideline, judged.heuristic))
    return table


def _quality_cells(served: Figures, heuristic: Figures) -> list[str]:
    if not served.n:
        return ["0", *[NOTHING] * 5]
    return [
        count(served.n),
        percent(served.positives / served.n),
        figure(served.roc_auc),
        figure(heuristic.roc_auc),
        figure(served.expected_over_observed, ".2f"),
        quality(served.lift_quality, served.band),
    ]


def population_table(predictions: Iterable[PredictionSummary]) -> Table:
    """Users per category now, and what came of users in it."""
    table = plain_table(
        "category",
        ">users now",
        ">share",
        ">likelihood\nsaid",
        ">actual\nrate",
        title="Who is where, and what came of it",
        caption="Likelihood and rate are means over all judged moments of users in the category. A user leaves "
        "a category only some points past its edge (hysteresis), so shares are not exactly those of the edges.",
    )
    for prediction in predictions:
        add(table, prediction.id, style="bold")
        for category in prediction.categories:
            add(
                table,
                f"  {category.name}",
                count(category.users),
                percent(category.share),
                percent(category.mean_likelihood),
                percent(category.actual_rate),
            )
    return table


def crossings_table(predictions: Iterable[PredictionSummary]) -> Table:
    """How users crossed into categories."""
    table = plain_table(
        "into",
        ">the goal’s\nevent",
        ">another\nevent",
        ">silence",
        ">a new\nmodel",
        ">undone\nin a day",
        ">in a\nweek",
        ">then goal\n(at all)",
        title="Crossings per 1,000 users and day, by what caused them",
        caption="From another category; a first category, also of a user who was lapsed, is no crossing. "
        "Undone, and then goal: of crossings by events and silence; in brackets, how often the goal is "
        "reached at all. The goal of a churn prediction is to stay away.",
    )
    for prediction in predictions:
        add(table, prediction.id, style="bold")
        for category in prediction.categories:
            add(table, f"  {category.name}", *_crossing_cells(category, prediction.base_rate))
    return table


def _crossing_cells(category: Category, base_rate: float | None) -> list[str]:
    entries = category.entries
    rates = entries.per_1000_users_and_day
    by_cause = [rates.goal, rates.event, rates.silence, rates.model] if rates else [None] * 4
    return [
        *(figure(rate, ".2f") for rate in by_cause),
        percent(entries.undone_within_day, 0),
        percent(entries.undone_within_week, 0),
        f"{short_percent(entries.reached_goal_rate)} ({short_percent(base_rate)})" if entries.judged else NOTHING,
    ]


def progress_lines(summary: Summary) -> Iterator[Text]:
    """A line for every prediction that does not serve yet, or is not judged yet: why, until when, and how far it is."""
    for prediction in summary.predictions:
        words = progress_words(prediction, summary.clock_s)
        if words is not None:
            yield Text(f"\n{prediction.id} is {words}.")


def stays_words(segment: str, hysteresis: float) -> str:
    """Why a segment of scores from 90 up can hold more than a tenth."""
    return (
        f"{segment}: a member leaves only when the score is {hysteresis:g} points outside of the range (hysteresis), "
        "so it can hold more users than the range is wide."
    )


def segments_table(segments: Iterable[SegmentSummary], users: int) -> Table:
    """Sizes of segments."""
    segments = list(segments)
    kept = [segment for segment in segments if segment.hysteresis is not None]
    table = plain_table(
        "segment",
        "name",
        ">members",
        ">of all users",
        title="Segments",
        caption="\n".join(stays_words(segment.id, segment.hysteresis) for segment in kept if segment.hysteresis)
        or None,
    )
    for segment in segments:
        share = segment.members / users if users else None
        add(table, segment.id, segment.name, count(segment.members), percent(share))
    return table


def dead_letter_lines(summary: Summary) -> Iterator[Text]:
    """What could not be read, by reason."""
    if summary.dead_letters:
        total = sum(summary.dead_letters.values())
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in summary.dead_letters.items())
        yield Text(
            f"\n{total:,} records could not be used: {reasons} (tideline dead-letters shows them).", style="yellow"
        )


def missing_event_lines(missing: Iterable[MissingEvent], *, apart: bool = True) -> Iterator[Text]:
    """A line for every event name of the catalog that never occurred; `apart`: after an empty one."""
    for number, event in enumerate(missing):
        begin = "\n" if apart and not number else ""
        yield Text(f"{begin}{str(event)[0].upper()}{str(event)[1:]}", style="yellow")


def transition_lines(transitions: Iterable[Transition], edges: Mapping[str, Sequence[float]]) -> Iterator[Text]:
    """Transitions as people read them, with their main reasons; `edges` are those of the predictions' categories."""
    for found in transitions:
        data = found.data
        text = Text("  ")
        text.append(f"{moment(found.time.timestamp())}  ", style="dim")
        text.append(printable(data.user_id), style="bold")
        text.append(f"  {'into' if data.in_segment else 'out of'} ")
        text.append(printable(data.segment_name), style="cyan")
        # Without one prediction there is no goal whose event this could be or not be.
        why = "an event" if found.cause == "event" and data.prediction_id is None else cause(found.cause)
        text.append(f"\n      because of {why}")
        if data.score is not None:
            text.append(f"; score {points(data.score, edges.get(data.prediction_id or '', ()))}")
        if data.likelihood is not None:
            text.append(f", likelihood {percent(data.likelihood)}")
        for reason in data.main_reasons(_REASONS):
            text.append(f"\n      {printable(reason.words)}", style="dim")
        yield text


def predictions_table(predictions: Iterable[PredictionSummary]) -> Table:
    """All predictions, a line each."""
    table = plain_table(
        "prediction",
        ">window",
        "status",
        "live since",
        ">audience",
        ">ROC\nAUC",
        ">exp. ÷\nobs.",
        ">lift\nquality",
        caption="Quality at events, as served. `tideline predictions --json` has everything.",
    )
    for prediction in predictions:
        served = prediction.judged["events"].tideline
        add(
            table,
            prediction.id,
            format_duration(prediction.window_s),
            prediction.status,
            date(prediction.live_since_s),
            count(prediction.audience),
            figure(served.roc_auc),
            figure(served.expected_over_observed, ".2f"),
            quality(served.lift_quality, served.band),
        )
    return table
