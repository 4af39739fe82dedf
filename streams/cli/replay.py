"""`tideline replay`: files through the full path."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.advice import activation, command, segment_to_try
from streams.cli.options import CatalogFile, DataDir, Files, Fresh, Json, Store, find_place, warn_if_open
from streams.cli.report_file import check_report
from streams.cli.screen import TerminalWatcher, echo_json, guarded, show, show_lines, warn

if TYPE_CHECKING:
    from streams.runtime.job import Job, Outcome, Watcher
    from streams.runtime.transition_log import Transition

EXAMPLES = (
    ("tideline replay orders.csv -c shop.yaml", "with everything in .tideline"),
    ("tideline replay 2023.ndjson.gz 2024.ndjson.gz -c shop.yaml --report shop.html", "several files, and a report"),
    ("tideline replay day1.csv day2.csv -c shop.yaml", "go on with the next day's file after a run over day1.csv"),
    ("tideline replay orders.csv -c shop.yaml --store redis://localhost:6379/0", "into a Redis of yours"),
    ("tideline replay orders.csv -c shop.yaml --fresh", "begin anew, say after a change of the catalog"),
)
RESUME = "What is committed is safe: run the same command again to go on from there."
LATEST = 8
LOOKED_AT = 500
MANY_REFUSED = 0.01
"""A larger share of records that could not be used is worth a warning."""
REASONS = 3


@guarded(RESUME)
def replay(
    files: Files,
    catalog: CatalogFile,
    store: Store = None,
    data_dir: DataDir = None,
    transitions: Annotated[
        Path | None,
        typer.Option(
            "--transitions",
            metavar="OUT.ndjson",
            help="Where transitions go, one JSON object a line (transitions.ndjson in the data directory).",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="OUT.html", help="Write a page with plots, all in one file.")
    ] = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Run files of events through the full path: scores, categories, segments, and an event for every crossing.

    It may be interrupted at any moment (Ctrl-C, kill -9, power): run again, it goes on from its last commit and comes
    to the same result. A run that is complete only shows its result again. With new files behind the ones that it has
    read it goes on.
    """
    from config.errors import InputError
    from config.loader import load_catalog
    from streams.runtime.job import Job, run_job
    from streams.runtime.place import TRANSITIONS_FILE, is_inside

    place, codec = find_place(store, data_dir)
    loaded = load_catalog(catalog)
    if transitions is None:
        transitions = place.data_dir / TRANSITIONS_FILE
    if report is not None:
        used = {"the file of transitions": [transitions], "the catalog": [catalog], "input": files}
        check_report(report, place, used)
    if place.url is None or is_inside(place, transitions):
        warn_if_open(place.data_dir)
    job = Job(tuple(files), loaded, place, transitions, fresh=fresh, codec=codec)
    with TerminalWatcher() as watcher:
        outcome = run_job(job, watcher)
        if outcome.nothing_used:
            if as_json:
                echo_json(as_dict(job, outcome, None), allow_nan=False)
            raise InputError(", ".join(str(file) for file in job.files), "\n".join(nothing_used_lines(job, outcome)))
        latest = finish(job, outcome, report, watcher)
        if outcome.refused_share > MANY_REFUSED:
            warn(*refused_lines(job, outcome))
    if as_json:
        echo_json(as_dict(job, outcome, report), allow_nan=False)
    else:
        show_outcome(job, outcome, latest, report)
        show_lines(*next_steps(job, outcome, latest, catalog))


def finish(job: Job, outcome: Outcome, report: Path | None, watcher: Watcher) -> tuple[Transition, ...]:
    """Write the report; the latest transitions."""
    from streams.runtime.transition_log import latest_transitions, read_history, varied

    latest = varied(latest_transitions(job.transitions, LOOKED_AT), LATEST)
    if report is not None:
        from streams.runtime.place import make_folder
        from streams.runtime.report.html import write_report

        make_folder(job.place, report)
        with watcher.step("Writing the report"):
            write_report(report, outcome.summary, read_history(job.transitions), latest)
    return latest


def show_outcome(job: Job, outcome: Outcome, latest: tuple[Transition, ...], report: Path | None) -> None:
    """The tables at the end of a run."""
    from streams.cli.tables import summary_tables, transition_lines
    from streams.runtime.summary import edges_of

    if outcome.was_complete:
        show("This run was complete already; here is its result again. [dim](--fresh begins anew)[/dim]\n")
    show(*summary_tables(outcome.summary))
    if latest:
        show("\n[bold]Some of the last transitions[/bold]", *transition_lines(latest, edges_of(outcome.summary)))
    show_lines(*where_lines(job, report))


def refused_lines(job: Job, outcome: Outcome) -> list[str]:
    """How much could not be used, why, and what to do, in a few lines."""
    total, rows = sum(outcome.summary.dead_letters.values()), outcome.summary.rows
    head = f"{total:,} of {rows:,} records ({total / rows:.1%}) could not be used:"
    return [head, *_reason_lines(outcome), f"All of them: {command()} dead-letters{where_options(job)}"]


def nothing_used_lines(job: Job, outcome: Outcome) -> list[str]:
    """The same for a run in which nothing could be used."""
    head = f"none of the {outcome.summary.rows:,} records could be used:"
    where = where_options(job)
    return [
        head,
        *_reason_lines(outcome),
        f"More of them: {command()} dead-letters{where}. When the catalog is mended, run again with --fresh.",
    ]


def _reason_lines(outcome: Outcome) -> list[str]:
    from streams.runtime.words import printable

    lines = []
    for refused in outcome.refused[:REASONS]:
        lines.append(f"  {refused.count:,} × {refused.reason}: {refused.hint}")
        lines += [
            f"      such as {printable(letter.place)}: {printable(letter.detail)}" for letter in refused.examples[:1]
        ]
    if len(outcome.refused) > REASONS:
        lines.append(f"  and {len(outcome.refused) - REASONS} other reasons")
    return lines


def where_lines(job: Job, report: Path | None) -> list[str]:
    """Where everything lies."""
    from rich.markup import escape

    place = job.place
    lines = ["\n[bold]Where everything lies[/bold]"]
    if place.url is None:
        lines.append(f"  store        {escape(str(place.data_dir))} (an embedded server; `tideline store` runs it)")
    else:
        lines.append(f"  store        {escape(place.name)}, keys that begin with {place.prefix}:")
    lines.append(f"  transitions  {escape(str(job.transitions))}")
    if report is not None:
        lines.append(f"  report       {escape(str(report))}")
    return [*lines, ""]


def next_steps(job: Job, outcome: Outcome, latest: tuple[Transition, ...], catalog: Path) -> list[str]:
    """What to try next, as commands that can be pasted."""
    where, name = where_options(job), command()
    files = shlex.join(map(str, job.files))
    lines = [
        *look_lines(job, outcome, latest, f"{outcome.summary.predictions[0].id}.high"),
        f"{name} evaluate {files} --catalog {shlex.quote(str(catalog))} --compare heuristic,lightgbm",
    ]
    if job.place.url is None:
        lines.append(f"{name} store{where}  (and in another terminal redis-cli: docs/redis.md)")
    return advice_lines(lines)


def look_lines(job: Job, outcome: Outcome, latest: tuple[Transition, ...], *segments: str) -> list[str]:
    """Commands that look at what the run has stored: a segment (one of `segments`, if it has members) and a user."""
    from streams.runtime.summary import predictions_of_segment
    from streams.runtime.words import printable

    where, name = where_options(job), command()
    segment = segment_to_try(outcome.summary, *segments)
    # Of an id with control characters no command can be shown that works.
    users = (found.data.user_id for found in latest)
    user = next((shlex.quote(user_id) for user_id in users if printable(user_id) == user_id), None)
    # A segment that rests on no prediction has no score of its own to be sorted by.
    sort = " --sort score" if segment is not None and predictions_of_segment(job.catalog, segment) else ""
    return [
        f"{name} predictions{where}" if segment is None else f"{name} segment {segment}{sort}{where}",
        f"{name} user ID{where}  (an id from the events)" if user is None else f"{name} user {user}{where}",
    ]


def advice_lines(lines: Sequence[str]) -> list[str]:
    """Under their heading; where `tideline` is not on the path, with how it comes there."""
    from rich.markup import escape

    activate = activation()
    hint = [] if activate is None else [f"  [dim]{escape(activate)} puts tideline on your path[/dim]"]
    return ["[bold]What to try next[/bold]", *(f"  {escape(line)}" for line in lines), *hint]


def where_options(job: Job) -> str:
    """The options that lead other commands to this run's store; nothing where they find it by themselves."""
    from config.settings import load_settings

    if job.place.url is not None:
        return "" if load_settings().redis_url == job.place.url else f" --store {shlex.quote(job.place.name)}"
    return (
        "" if load_settings().data_dir == job.place.data_dir else f" --data-dir {shlex.quote(str(job.place.data_dir))}"
    )


def as_dict(job: Job, outcome: Outcome, report: Path | None) -> dict[str, Any]:
    """What `--json` prints."""
    import msgspec

    return {
        "was_complete": outcome.was_complete,
        "resumed_at": outcome.resumed_at,
        "seconds": round(outcome.seconds, 3),
        "store": job.place.name,
        "key_prefix": job.place.prefix,
        "transitions_file": str(job.transitions),
        "report_file": None if report is None else str(report),
        "refused": msgspec.to_builtins(outcome.refused),
        "summary": msgspec.to_builtins(outcome.summary),
    }
