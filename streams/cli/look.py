"""`tideline predictions`, `user` and `dead-letters`: look at what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.options import DataDir, Json, Store
from streams.cli.screen import echo_json, guarded, show
from streams.cli.stored import opened

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from streams.runtime.lookup import UserDetail, UserPrediction
    from streams.runtime.refusals import Refused

USER_EXAMPLES = (
    ("tideline user 00001", "everything about one user"),
    ("tideline user ann@example.org --store redis://localhost:6379/0 --json", "from another store, for a script"),
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
        progress_lines,
    )
    from streams.runtime.summary import summarize

    with opened(store, data_dir) as (_, state):
        summary = summarize(state)
    if as_json:
        echo_json(msgspec.to_builtins(summary), allow_nan=False)
    else:
        show(head(summary), predictions_table(summary.predictions), population_table(summary.predictions))
        show(*progress_lines(summary))
        show(*missing_event_lines(summary.missing_events), *dead_letter_lines(summary))


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

    with opened(store, data_dir) as (reader, state):
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
    head.append(f", scores as of {moment(detail.scored_s)} (UTC)")
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
        yield Text(f"\nRemembered: {printable_json(json.dumps(detail.remembered, ensure_ascii=False))}")


def _score_lines(found: UserPrediction) -> Text:
    from rich.text import Text

    from streams.runtime.progress import warmup_words
    from streams.runtime.transition_log import SMALLEST_SHOWN
    from streams.runtime.words import moment, percent, points, printable, rank

    text = Text.assemble("\n", (printable(found.name), "bold"), f" ({found.id}): ")
    if found.score is None:
        return text.append(_outside_words(found))
    shown = points(found.score, found.category_edges, digits=1)
    text.append(f"{printable(found.score_name)} {shown}")
    if found.scale == "percentile":
        text.append(f" ({rank(found.score, risk=found.kind == 'churn')} of the audience)")
    if found.likelihood is not None:
        text.append(f", likelihood {percent(found.likelihood)}")
    if found.category_name is not None:
        text.append(f", category {printable(found.category_name)}{_kept_words(found)}")
    if found.status != "live":
        as_of = "" if found.frozen_s is None else f", as of {moment(found.frozen_s)}"
        text.append(f"; {found.status}{as_of}")
    if found.warmup is not None:
        text.append(f": {warmup_words(found.warmup)}")
    for reason in (reason for reason in found.reasons if reason.strength >= SMALLEST_SHOWN):
        text.append(f"\n  {reason.direction} it  {printable(str(reason))}", style="dim")
    return text


def _outside_words(found: UserPrediction) -> str:
    """Why there is no score."""
    from streams.runtime.words import moment, span

    if found.lapsed_s is None or found.lapsed_after_s is None:
        if found.frozen_s is not None:
            return f"no score: not in the audience when it was scored for good, on {moment(found.frozen_s)}"
        return "not in the audience"
    return (
        f"lapsed since {moment(found.lapsed_s)}: the last event of its goal was on {moment(found.lapsed_after_s)}, "
        f"{span(found.lapsed_s - found.lapsed_after_s)} before that"
    )


def _kept_words(found: UserPrediction) -> str:
    """Why the category is not the one in whose range the score lies; nothing where it is."""
    medium, high = found.category_edges
    plain = "low" if (found.score or 0.0) < medium else "medium" if (found.score or 0.0) < high else "high"
    if plain == found.category:
        return ""
    return f" (kept: it changes {found.hysteresis:g} points past an edge, {medium:g} or {high:g})"


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

    with opened(store, data_dir) as (reader, state):
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
