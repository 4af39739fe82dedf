"""`tideline transitions`: the latest transitions of a file, all or some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.options import DataDir, Origin, origins_of
from streams.cli.screen import guarded, show

EXAMPLES = (
    ("tideline transitions", "the latest ones"),
    ("tideline transitions --origin live,decay", "only those that come from what users did, or did not do"),
    ("tideline transitions --segment orders_7d.high --limit 100 --json", "of one segment, for a script"),
    ("tideline transitions --user 00001", "of one user"),
)


@guarded()
def transitions(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The file of transitions (transitions.ndjson in the data directory)."),
    ] = None,
    origin: Origin = None,
    segment: Annotated[str | None, typer.Option("--segment", metavar="NAME", help="Only of this segment.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Only of this user.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many at most.")] = 20,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each transition as one line of JSON.")] = False,
) -> None:
    """Show the latest transitions, newest first: who entered or left which segment, and why."""
    from config.errors import InputError
    from streams.runtime.transition_log import Wanted, latest_lines, latest_transitions

    path = file or _default_file(data_dir)
    wanted = Wanted(origins_of(origin), segment, user)
    if not path.is_file():
        raise InputError(
            str(path),
            "is not there. Name the file that `tideline replay --transitions` has written to; `tideline tail "
            "segment-events --from-start` shows those of a worker",
        )
    if as_json:
        from streams.runtime.words import printable_json

        for line in latest_lines(path, limit, wanted):
            typer.echo(printable_json(line))
        return
    from streams.cli.tables import transition_lines

    found = latest_transitions(path, limit, wanted)
    show(
        *transition_lines(found, {})
        if found
        else (f"No transition in {path} is like that. Names must be as the catalog and the events have them.",)
    )


def _default_file(data_dir: Path | None) -> Path:
    from config.settings import load_settings

    return load_settings(data_dir=data_dir).data_dir / "transitions.ndjson"
