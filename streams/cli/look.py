"""`tideline predictions`, `segment`, `user` and `dead-letters`: look at what is stored."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import DataDir, Json, Store, find_place
from streams.cli.screen import echo_json, guarded, show

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from streams.adapters.redis_reader import RedisReader
    from streams.runtime.lookup import UserDetail, UserPrediction
    from streams.runtime.refusals import Refused
    from streams.runtime.stored import StoredState

USER_EXAMPLES = (
    ("tideline user 00001", "everything about one user"),
    ("tideline user ann@example.org --store redis://localhost:6379/0 --json", "from another store, for a script"),
)
SEGMENT_EXAMPLES = (
    ("tideline segment orders_7d.high", "its size, and some members"),
    ("tideline segment regulars_at_risk --members 50", "more of them"),
    ("tideline segment orders_7d.high --all > users.txt", "every member, one id a line"),
)
PREDICTIONS_EXAMPLES = (
    ("tideline predictions", "status, audience and quality of each"),
    ("tideline predictions --json", "with everything that the report shows"),
)
DEAD_LETTERS_EXAMPLES = (
    ("tideline dead-letters", "what could not be read: reasons, and examples of each"),
    ("tideline dead-letters --limit 50 --json", "more of them, for a script"),
)
_START_CHARACTERS = 160


@contextmanager
def _opened(store: str | None, data_dir: Path | None) -> Iterator[tuple[RedisReader, StoredState]]:
    from streams.runtime.place import read_place
    from streams.runtime.stored import read_state

    place, codec = find_place(store, data_dir)
    with read_place(place) as reader:
        yield reader, read_state(reader, codec)


# --- tideline predictions ----------------------------------------------------------------------------------------


@guarded()
def predictions(store: Store = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show every prediction: status, audience, categories, quality."""
    import msgspec

    from streams.cli.tables import (
        dead_letter_lines,
        head,
        missing_event_lines,
        population_table,
        predictions_table,
        warmup_lines,
    )
    from streams.runtime.summary import summarize

    with _opened(store, data_dir) as (_, state):
        summary = summarize(state)
    if as_json:
        echo_json(msgspec.to_builtins(summary), allow_nan=False)
    else:
        show(head(summary), predictions_table(summary.predictions), population_table(summary.predictions))
        show(*warmup_lines(summary.predictions))
        show(*missing_event_lines(summary.missing_events), *dead_letter_lines(summary))


# --- tideline segment -----------------------------------------------------------------------------------------------


@guarded()
def segment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its id, such as orders_7d.high or one of the catalog.")],
    members: Annotated[int, typer.Option("--members", min=0, max=100_000, help="How many members to show.")] = 10,
    all_members: Annotated[
        bool, typer.Option("--all", help="Print all members and nothing else, one id a line (with --json: as JSON).")
    ] = False,
    store: Store = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show a segment: its size, and some of its members in no particular order.

    Control characters in an id are shown escaped (ESC as backslash x1b); with --json ids are exact.
    """
    from streams.runtime.words import printable

    with _opened(store, data_dir) as (reader, state):
        _check_segment(state, name)
        if all_members:
            for user_id in reader.members(name):
                typer.echo(json.dumps(user_id) if as_json else printable(user_id))
            return
        size = reader.member_count(name)
        shown = [_member(reader, state, name, user_id) for user_id in islice(reader.members(name), members)]
    if as_json:
        echo_json({"id": name, "members": size, "users": shown}, allow_nan=False)
    else:
        show(*_segment_words(state, name, size, shown))


def _check_segment(state: StoredState, name: str) -> None:
    """Raises NotStored for a segment that does not exist."""
    from config.errors import NotStored

    known = state.definitions.segment_ids
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
        raise NotStored(f"no segment is called {name!r}. {hint}")


def _used_prediction(state: StoredState, name: str) -> str | None:
    """The only prediction that a segment uses."""
    d = state.definitions
    only = int(d.segments.only[d.segment_ids.index(name)])
    return d.prediction_ids[only] if only >= 0 else None


def _member(reader: RedisReader, state: StoredState, name: str, user_id: str) -> dict[str, Any]:
    from streams.runtime.lookup import membership_since

    row = reader.row(user_id)
    member: dict[str, Any] = {"user": user_id, "since_s": None, "entry_count": None, "scores": {}}
    if row is not None:
        membership = membership_since(state, user_id, row, name)
        member |= {"since_s": membership.since_s, "entry_count": membership.entry_count}
    scores = reader.user(user_id).scores
    member["scores"] = {p: {"score": s.score, "likelihood": s.likelihood} for p, s in scores.items()}
    return member


def _segment_words(state: StoredState, name: str, size: int, shown: list[dict[str, Any]]) -> list[Table | Text]:
    from rich.text import Text

    from streams.cli.tables import add, plain_table, stays_words
    from streams.runtime.summary import score_hysteresis
    from streams.runtime.words import count, figure, moment, percent, printable

    words = state.definitions.segment_names[state.definitions.segment_ids.index(name)]
    head = Text.assemble((printable(words), "bold"), f" ({name}): {count(size)} members")
    if state.users:
        head.append(f", {percent(size / state.users)} of all {count(state.users)} users")
    prediction = _used_prediction(state, name)
    predictions = list(state.catalog.predictions) if prediction is None else [prediction]
    table = plain_table("user", "in it since", ">entered", *(f">{p}\nscore" for p in predictions))
    for member in shown:
        scores = [member["scores"].get(p, {}) for p in predictions]
        cells = [figure(score.get("score"), ".1f") for score in scores]
        add(table, member["user"], moment(member["since_s"]), f"{member['entry_count'] or 0}×", *cells)
    points = score_hysteresis(state.catalog, name)
    foot = [] if points is None else [Text(stays_words(name, points), style="dim")]
    return [head, table, *foot] if shown else [head, *_why_empty(state, name, size), *foot]


def _why_empty(state: StoredState, name: str, size: int) -> Iterator[Text]:
    """What keeps a segment without members empty, as far as it is the state of a prediction."""
    from rich.text import Text

    from streams.cli.tables import goals_words
    from streams.runtime.summary import predictions_of_segment, warmup_of

    for used in predictions_of_segment(state.catalog, name) if not size else ():
        access = state.catalog.predictions[used].access
        warmup = warmup_of(state, list(state.catalog.predictions).index(used))
        if access != "live":
            yield Text(
                f"It stays empty: the access of {used} is {access}, so its scores are shown and nobody is targeted."
            )
        elif warmup is not None:
            yield Text(f"Nobody enters before {used} is live. It is warming up: {goals_words(warmup)}.")


# --- tideline user --------------------------------------------------------------------------------------------------


@guarded()
def user(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="The user's id as it is in the events.")],
    store: Store = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show a user: scores with their reasons, segments, traits and events."""
    import msgspec

    from config.errors import NotStored
    from streams.runtime.lookup import look_up

    with _opened(store, data_dir) as (reader, state):
        detail = look_up(reader, state, user_id)
        users = state.users
    if detail is None:
        raise NotStored(f"no user {user_id!r} among the {users:,} that are stored; ids must be as in the events")
    if as_json:
        echo_json(msgspec.to_builtins(detail))
    else:
        show(*_user_words(detail))


def _user_words(detail: UserDetail) -> Iterator[Table | Text]:
    from rich.text import Text

    from streams.cli.tables import add, plain_table
    from streams.runtime.words import moment, printable, printable_json

    head = Text.assemble(("User ", ""), (printable(detail.user), "bold"))
    head.append(f": first seen {moment(detail.first_s)}, last seen {moment(detail.last_s)}")
    head.append(f", scores as of {moment(detail.scored_s)} (UTC)\n")
    yield head
    for prediction in detail.predictions:
        yield _score_lines(prediction)
    if detail.segments:
        table = plain_table("segment", "name", "in it since", ">entered", title="Segments")
        for found in detail.segments:
            add(table, found.id, found.name, moment(found.since_s), f"{found.entry_count}×")
        yield table
    if detail.events:
        table = plain_table("event", ">times", "last", title="Events")
        for event in detail.events:
            name = "(all others)" if event.name == "*" else event.name
            add(table, name, f"{event.total:,}", moment(event.last_s))
        yield table
    if detail.traits:
        table = plain_table("trait", "value", title="Traits")
        for name, value in detail.traits.items():
            add(table, name, str(value))
        yield table
    if detail.remembered:
        yield Text(f"Remembered: {printable_json(json.dumps(detail.remembered, ensure_ascii=False))}\n")


def _score_lines(found: UserPrediction) -> Text:
    from rich.text import Text

    from streams.cli.tables import goals_words
    from streams.runtime.transition_log import SMALLEST_SHOWN
    from streams.runtime.words import percent, printable, rank

    text = Text.assemble((printable(found.name), "bold"), f" ({found.id}): ")
    if found.score is None:
        return text.append("not in the audience\n")
    text.append(f"{printable(found.score_name)} {found.score:.1f}")
    if found.scale == "percentile":
        text.append(f" ({rank(found.score, risk=found.kind == 'churn')} of the audience)")
    if found.likelihood is not None:
        text.append(f", likelihood {percent(found.likelihood)}")
    if found.category_name is not None:
        text.append(f", category {printable(found.category_name)}")
    if found.status != "live":
        text.append(f"; {found.status}")
    if found.warmup is not None:
        text.append(f": {goals_words(found.warmup)}")
    for reason in (reason for reason in found.reasons if reason.strength >= SMALLEST_SHOWN):
        text.append(f"\n  {reason.direction} it  {printable(str(reason))}", style="dim")
    return text.append("\n")


# --- tideline dead-letters ---------------------------------------------------------------------------------------


@guarded()
def dead_letters(
    limit: Annotated[int, typer.Option("--limit", min=0, max=10_000, help="How many to show of each reason.")] = 3,
    store: Store = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show records that could not be used: how many for which reason, what to do, and the latest of each.

    docs/input.md explains every reason. A store keeps the latest dead letters only (limits.dead_letters).
    """
    import msgspec

    from streams.runtime.refusals import refused_records

    with _opened(store, data_dir) as (reader, state):
        refused = refused_records(reader, state.totals, state.catalog, limit)
        stored = reader.dead_letter_count()
    rows, total = state.totals.position, sum(state.totals.dead_letters.values())
    if as_json:
        found = {"records": rows, "refused": total, "stored": stored, "reasons": msgspec.to_builtins(refused)}
        echo_json(found)
    else:
        show(*_dead_letter_words(refused, rows, total))


def _dead_letter_words(refused: tuple[Refused, ...], rows: int, total: int) -> Iterator[Text]:
    from rich.text import Text

    from streams.runtime.words import printable

    if not total:
        yield Text(f"All {rows:,} records could be used: there are no dead letters.")
        return
    yield Text(f"{total:,} of {rows:,} records ({total / rows:.1%}) could not be used.")
    for group in refused:
        text = Text.assemble("\n", (group.reason, "bold"), f": {group.count:,} records; {group.hint}")
        for letter in group.examples:
            text.append(f"\n  position {letter.position:,}")
            text.append(f", {printable(letter.source)}" if letter.source else "")
            text.append(f": {printable(letter.detail)}\n")
            text.append(f"    {letter.start(_START_CHARACTERS)}", style="dim")
        if len(group.examples) < group.count:
            text.append(f"\n  ({len(group.examples):,} of {group.count:,} are shown)", style="dim")
        yield text
