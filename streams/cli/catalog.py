"""`tideline check` and `tideline schema`: catalogs alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.errors import CatalogError, InputError, Problem
from streams.cli.options import Json
from streams.cli.screen import echo_json, fail, guarded, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from config.catalog import Catalog
    from streams.runtime.preview import FilePreview, Preview

_NAMES = 12
CHECK_EXAMPLES = (
    ("tideline check catalog.yaml", "say what it contains, or every problem"),
    ("tideline check catalog.yaml orders.csv", "and how the first rows of a file are understood"),
    ("tideline check catalog.yaml --json", "the same for a script"),
)
SCHEMA_EXAMPLES = (("tideline schema > catalog.schema.json", "for an editor that checks YAML while you type"),)


@guarded()
def check(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="The catalog to check.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Files of events, to see how they are understood.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=1, max=1_000_000, help="How many rows of each file to look at.")
    ] = 10_000,
    as_json: Json = False,
) -> None:
    """Check a catalog and say what it contains; with files, also how their first rows are understood.

    Every problem is named with its line, its path, what was found and what was expected, those in templates of
    messages too; the exit code is 2 then. Of files it shows the first events, what was refused and why, and event names
    and fields of the catalog that do not occur; it is 3 when no row could be used.
    """
    try:
        loaded = _checked(catalog)
    except CatalogError as error:
        if as_json:
            _print_problems(error)
            raise typer.Exit(error.exit_code) from None
        fail(error)
        return
    found = _preview(loaded, files, rows) if files else None
    if as_json:
        _print_contents(loaded, found)
    else:
        show(*_contents(loaded, catalog))
        if found is not None:
            show(*_preview_words(found))
    if found is not None and found.nothing_used:
        raise InputError(", ".join(file.file for file in found.files), "no row could be used")


def _checked(path: Path) -> Catalog:
    """A catalog whose messages can be made. Raises CatalogError with every problem found."""
    from config.loader import load_catalog

    catalog = load_catalog(path)
    if problems := _wrong_texts(catalog):
        raise CatalogError(problems, str(path))
    return catalog


def _wrong_texts(catalog: Catalog) -> list[Problem]:
    if not catalog.sections.campaigns and not catalog.sections.journeys:
        return []
    from streams.campaigns.texts_check import problems_of_texts  # with Jinja

    return problems_of_texts(catalog)


def _preview(catalog: Catalog, files: list[Path], rows: int) -> Preview:
    from streams.runtime.preview import preview

    return preview(files, catalog, time.time(), rows)


@guarded()
def schema() -> None:
    """Print the JSON schema of catalogs, for editors."""
    from config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _print_problems(error: CatalogError) -> None:
    problems = [{"line": p.line, "path": p.path, "found": p.found, "expected": p.expected} for p in error.problems]
    echo_json({"ok": False, "problems": problems})


def _print_contents(catalog: Catalog, found: Preview | None) -> None:
    import msgspec

    from config.advice import hints
    from streams.cli.catalog_parts import part_values

    result = {
        "ok": True,
        "name": catalog.name,
        "predictions": [*catalog.predictions],
        "segments": [*catalog.segments],
        "campaigns": [*catalog.sections.campaigns],
        "journeys": [*catalog.sections.journeys],
        **part_values(catalog),
        "problems": [],
        "hints": msgspec.to_builtins(hints(catalog)),
    }
    if found is not None:
        result |= msgspec.to_builtins(found)
    echo_json(result)


def _preview_words(found: Preview) -> Iterator[RenderableType]:
    from rich.text import Text

    from streams.cli.tables import missing_event_lines

    for file in found.files:
        yield from _file_words(file)
    if found.missing_events and not found.nothing_used:
        where = "in these files" if found.whole else "in the rows that were looked at (--rows looks at more)"
        yield Text(f"\nNames of the catalog that do not occur {where}:")
        yield from missing_event_lines(found.missing_events, apart=False)


def _file_words(file: FilePreview) -> Iterator[RenderableType]:
    from rich.text import Text

    from streams.cli.tables import add, plain_table
    from streams.runtime.words import count, moment, printable

    rows = f"all {count(file.rows)} rows" if file.whole else f"the first {count(file.rows)} rows"
    head = Text.assemble(
        "\n", (printable(file.file), "bold"), f": {rows}; {count(file.events)} events of {count(file.users)} users"
    )
    if file.events:
        head.append(f", {moment(file.first_time_s)} to {moment(file.last_time_s)} (UTC)")
    yield head
    for refused in file.refused:
        text = Text(f"  {count(refused.count)} × {refused.reason}: {refused.hint}", style="yellow")
        for letter in refused.examples:
            text.append(f"\n      such as {printable(letter.place)}: {printable(letter.detail)}")
            text.append(f"\n        {letter.start(100)}", style="dim")
        yield text
    for absent in file.absent_fields:
        yield Text(f"  {printable(str(absent))}", style="yellow")
    if file.names:
        names = [f"{printable(name)} {count(number)}" for name, number in file.names.items()]
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield Text(f"  names: {', '.join(names[:_NAMES])}{more}")
    if file.first:
        table = plain_table("user", "event", "time (UTC)", ">value", "traits", "properties", title="As understood")
        for event in file.first:
            value = "" if event.value is None else f"{event.value:g}"
            add(
                table,
                event.user,
                event.event or "(identify)",
                moment(event.time_s),
                value,
                *map(_pairs, (event.traits, event.properties)),
            )
        yield table


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _contents(catalog: Catalog, path: Path) -> list[RenderableType]:
    from rich.text import Text

    from config.advice import hints
    from config.durations import format_duration
    from streams.cli.catalog_parts import part_words
    from streams.cli.tables import add, goal_words, plain_table
    from streams.runtime.words import printable

    head = Text.assemble(("✓", "green"), " ", (printable(catalog.name), "bold"), f" ({printable(str(path))}) is right.")
    predictions = plain_table("prediction", "name", "goal", "window", "access", title="Predictions")
    for name, prediction in catalog.predictions.items():
        window = format_duration(prediction.window_s)
        add(predictions, name, prediction.name, goal_words(prediction), window, prediction.access)
    lines = [
        Text(f"  {'' if number else part:<9} {printable(words)}")
        for part, each in part_words(catalog).items()
        for number, words in enumerate(each)
    ]
    result: list[RenderableType] = [head, *lines, predictions]
    if catalog.segments:
        segments = plain_table("segment", "name", title="Segments, beside the categories of every prediction")
        for name, segment in catalog.segments.items():
            add(segments, name, segment.name)
        result.append(segments)
    for title, group in (("Campaigns", catalog.sections.campaigns), ("Journeys", catalog.sections.journeys)):
        if group:
            table = plain_table(title.lower().removesuffix("s"), "name", "for", "by", title=title)
            for name, campaign in group.items():
                add(table, name, campaign.name, campaign.segment, ", ".join(campaign.channels))
            result.append(table)
    result += [Text(f"hint: {printable(str(hint))}", style="yellow") for hint in hints(catalog)]
    return result
