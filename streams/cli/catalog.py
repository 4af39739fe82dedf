"""`tideline check` and `tideline schema`: catalogs alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from config.errors import CatalogError
from streams.cli.options import Json
from streams.cli.screen import fail, guarded, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from config.catalog import Catalog

CHECK_EXAMPLES = (
    ("tideline check catalog.yaml", "say what it contains, or every problem"),
    ("tideline check catalog.yaml --json", "the same for a script"),
)
SCHEMA_EXAMPLES = (("tideline schema > catalog.schema.json", "for an editor that checks YAML while you type"),)


@guarded()
def check(
    catalog: Annotated[Path, typer.Argument(metavar="CATALOG", help="The catalog to check.")], as_json: Json = False
) -> None:
    """Check a catalog and say what it contains.

    Every problem is named with its line, its path, what was found and what was expected; the exit code is 2 then.
    """
    from config.loader import load_catalog

    try:
        loaded = load_catalog(catalog)
    except CatalogError as error:
        if as_json:
            _print_problems(error)
            raise typer.Exit(error.exit_code) from None
        fail(error)
        return
    if as_json:
        ids = {"name": loaded.name, "predictions": [*loaded.predictions], "segments": [*loaded.segments]}
        typer.echo(json.dumps({"ok": True, **ids, "problems": []}, ensure_ascii=False))
    else:
        show(*_contents(loaded, catalog))


@guarded()
def schema() -> None:
    """Print the JSON schema of catalogs, for editors."""
    from config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _print_problems(error: CatalogError) -> None:
    problems = [{"line": p.line, "path": p.path, "found": p.found, "expected": p.expected} for p in error.problems]
    typer.echo(json.dumps({"ok": False, "problems": problems}, ensure_ascii=False))


def _contents(catalog: Catalog, path: Path) -> list[RenderableType]:
    from rich.markup import escape

    from streams.cli.tables import plain_table

    head = f"[green]✓[/green] [bold]{escape(catalog.name)}[/bold] ({escape(str(path))}) is right."
    events = ", ".join(catalog.named_events()) or "none by name"
    about = [
        f"  reads    {_input_words(catalog)}",
        f"  events   {escape(events)}",
        f"  value    {escape(catalog.value_property or 'none')}",
        f"  traits   {escape(', '.join(catalog.named_traits()) or 'none')}",
    ]
    predictions = plain_table("prediction", "name", "goal", "window", "access", title="Predictions")
    from config.durations import format_duration
    from streams.cli.tables import goal_words

    for name, prediction in catalog.predictions.items():
        predictions.add_row(
            name, prediction.name, goal_words(prediction), format_duration(prediction.window_s), prediction.access
        )
    result: list[RenderableType] = [head, *about, "", predictions]
    if catalog.segments:
        segments = plain_table("segment", "name", title="Segments, beside the categories of every prediction")
        for name, segment in catalog.segments.items():
            segments.add_row(name, segment.name)
        result.append(segments)
    return result


def _input_words(catalog: Catalog) -> str:
    from rich.markup import escape

    from config.catalog import SegmentInput

    if isinstance(catalog.input, SegmentInput):
        return "Segment-spec JSON, one object a line (track and identify)"
    given = catalog.input
    event = given.event if isinstance(given.event, str) else f"always {given.event.constant!r}"
    return escape(f"{given.format.upper()}: user {given.user}, event {event}, time {given.time.field}")
