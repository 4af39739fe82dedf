"""`tideline segment`: how large a segment is, and who is in it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import DataDir, Json, Store
from streams.cli.screen import echo_json, guarded, show
from streams.cli.stored import opened

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from streams.runtime.members import Member
    from streams.runtime.stored import StoredState

EXAMPLES = (
    ("tideline segment orders_7d.high", "its size, and some members"),
    ("tideline segment orders_7d.high --sort score --members 50", "the fifty with the highest score"),
    ("tideline segment orders_7d.high --sort score --members 50 --skip 50", "the next fifty"),
    ("tideline segment regulars_at_risk --sort score --csv > users.csv", "all of them with their scores, as a table"),
    ("tideline segment orders_7d.high --all > users.txt", "every member, one id a line"),
)
_SHOWN = 10


@guarded()
def segment(  # noqa: PLR0913, PLR0917  one for each option
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its id, such as orders_7d.high or one of the catalog.")],
    members: Annotated[
        int | None,
        typer.Option("--members", min=0, help="How many members (10; all of them with --all and --csv)."),
    ] = None,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Leave out so many members first.")] = 0,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="score|PREDICTION",
            help="The highest score first: that of the prediction which the segment uses, or of another. Without it in "
            "no order.",
        ),
    ] = None,
    all_members: Annotated[
        bool, typer.Option("--all", help="Print members and nothing else, one id a line (with --json: as JSON).")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print members as CSV: since when, how often entered, scores.")
    ] = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="With --csv: ids as they are, also those that a spreadsheet takes for formulas."),
    ] = False,
    store: Store = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show a segment: its size, and some of its members.

    Control characters in an id are shown escaped (ESC as backslash x1b); with --json ids are exact, and so they are
    with --csv --raw in a file. Without --raw an id that a spreadsheet would take for a formula has an apostrophe before
    it.
    """
    from config.errors import SettingsError
    from streams.runtime.members import chosen_members, describe

    if as_csv and (as_json or all_members):
        raise SettingsError("--csv is one form of output, --json and --all are others: choose one")
    if raw and not as_csv:
        raise SettingsError("--raw belongs to --csv; with --json ids are exact")
    limit = members if members is not None or all_members or as_csv else _SHOWN
    with opened(store, data_dir) as (reader, state):
        _check_segment(state, name)
        by = None if sort is None else _sorted_by(state, name, sort)
        ids = chosen_members(reader, name, by=by, skip=skip, limit=limit)
        if all_members:
            _print_ids(ids, as_json=as_json)
            return
        shown = describe(reader, state, name, ids, state.catalog.predictions)
        if as_csv:
            _print_csv(shown, tuple(state.catalog.predictions), raw=raw)
            return
        size = reader.member_count(name)
        found = list(shown)
    if as_json:
        echo_json({"id": name, "members": size, "users": [_as_dict(member) for member in found]}, allow_nan=False)
    else:
        show(*_segment_words(state, name, size, found))


def _check_segment(state: StoredState, name: str) -> None:
    """Raises NotStored for a segment that does not exist."""
    from config.errors import NotStored
    from config.problems import closest

    known = state.definitions.segment_ids
    if name not in known:
        near = closest(name, known)
        hint = f"Did you mean {near}?" if near else f"There are {', '.join(known)}."
        raise NotStored(f"no segment is called {name!r}. {hint}")


def _sorted_by(state: StoredState, name: str, wanted: str) -> str:
    """The prediction whose score sorts. Raises SettingsError for one that is unknown, or where none is obvious."""
    from config.errors import SettingsError
    from streams.runtime.summary import predictions_of_segment

    known = tuple(state.catalog.predictions)
    if wanted in known:
        return wanted
    if wanted != "score":
        raise SettingsError(f"--sort {wanted}: no prediction is called that. There are {', '.join(known)}.")
    obvious = predictions_of_segment(state.catalog, name) or (known if len(known) == 1 else ())
    if not obvious:
        raise SettingsError(f"{name} uses no prediction: say whose score sorts, --sort {'|'.join(known)}")
    return obvious[0]


# --- output -------------------------------------------------------------------------------------------------------


def _print_ids(ids: Iterable[str], *, as_json: bool) -> None:
    from streams.runtime.words import printable

    for user_id in ids:
        typer.echo(json.dumps(user_id) if as_json else printable(user_id))


def _print_csv(members: Iterable[Member], predictions: Sequence[str], *, raw: bool) -> None:
    """On a terminal ids are escaped, so that none commands it; and unless `raw`, none commands a spreadsheet."""
    from streams.runtime.spreadsheet import harmless
    from streams.runtime.words import printable

    to_people = sys.stdout.isatty()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    # By itself the module puts no quotes around a carriage return, which readers take for the end of a line.
    quoting = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_ALL)
    per_prediction = [f"{p}_{part}" for p in predictions for part in ("score", "likelihood", "category")]
    writer.writerow(["user", "since", "entry_count", *per_prediction])
    for member in members:
        since = None if member.since_s is None else datetime.fromtimestamp(member.since_s, UTC)
        user = printable(member.user) if to_people else member.user
        cells: list[object] = [
            user if raw else harmless(user),
            None if since is None else since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            member.entry_count,
        ]
        for prediction in predictions:
            score = member.scores.get(prediction)
            cells += [None] * 3 if score is None else [score.score, score.likelihood, score.category]
        (quoting if "\r" in member.user else writer).writerow(cells)


def _as_dict(member: Member) -> dict[str, object]:
    scores = {name: {"score": score.score, "likelihood": score.likelihood} for name, score in member.scores.items()}
    return {"user": member.user, "since_s": member.since_s, "entry_count": member.entry_count, "scores": scores}


def _used_prediction(state: StoredState, name: str) -> str | None:
    """The only prediction that a segment uses."""
    d = state.definitions
    only = int(d.segments.only[d.segment_ids.index(name)])
    return d.prediction_ids[only] if only >= 0 else None


def _segment_words(state: StoredState, name: str, size: int, shown: Sequence[Member]) -> list[Table | Text]:
    from rich.text import Text

    from streams.cli.tables import add, plain_table, stays_words
    from streams.runtime.summary import edges, score_hysteresis
    from streams.runtime.words import NOTHING, count, moment, percent, points, printable

    words = state.definitions.segment_names[state.definitions.segment_ids.index(name)]
    head = Text.assemble((printable(words), "bold"), f" ({name}): {count(size)} member{'' if size == 1 else 's'}")
    if state.users:
        head.append(f", {percent(size / state.users)} of all {count(state.users)} users")
    used = _used_prediction(state, name)
    predictions = list(state.catalog.predictions) if used is None else [used]
    table = plain_table("user", "in it since", ">entered", *(f">{p}\nscore" for p in predictions))
    for member in shown:
        cells = []
        for prediction in predictions:
            score = member.scores.get(prediction)
            limits = edges(state.catalog.predictions[prediction])
            cells.append(NOTHING if score is None else points(score.score, limits, digits=1))
        add(table, member.user, moment(member.since_s), f"{member.entry_count or 0}×", *cells)
    hysteresis = score_hysteresis(state.catalog, name)
    foot = [] if hysteresis is None else [Text(stays_words(name, hysteresis), style="dim")]
    return [head, table, *foot] if shown else [head, *_why_empty(state, name, size), *foot]


def _why_empty(state: StoredState, name: str, size: int) -> Iterator[Text]:
    """What keeps a segment without members empty, as far as it is the state of a prediction."""
    from rich.text import Text

    from streams.runtime.progress import warmup_words
    from streams.runtime.summary import predictions_of_segment, warmup_of

    for used in predictions_of_segment(state.catalog, name) if not size else ():
        access = state.catalog.predictions[used].access
        warmup = warmup_of(state, list(state.catalog.predictions).index(used))
        if access != "live":
            yield Text(
                f"It stays empty: the access of {used} is {access}, so its scores are shown and nobody is targeted."
            )
        elif warmup is not None:
            yield Text(f"Nobody enters before {used} is live. It is warming up: {warmup_words(warmup)}.")
