"""`tideline store`: the embedded server by itself, for redis-cli and for people's own programs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streams.cli.options import DataDir, find_place, warn_if_open
from streams.cli.screen import guarded, show

if TYPE_CHECKING:
    from streams.runtime.place import Place

EXAMPLES = (
    ("tideline store", "keep the store of .tideline running until Ctrl-C"),
    ("tideline store --data-dir .tideline/demo --port 6390", "that of the demo, also on 127.0.0.1:6390"),
)


@guarded()
def store(
    data_dir: DataDir = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Also listen on 127.0.0.1, where every local user can connect."),
    ] = None,
) -> None:
    """Keep the embedded store running, to look into it with redis-cli or a program.

    Other commands start it by themselves and end it with them.
    """
    from config.errors import StoreError
    from streams.runtime.place import Place, nothing_stored

    place, _ = find_place(None, data_dir)
    place = Place(place.data_dir, None, place.prefix)
    if not (place.data_dir / "appendonlydir").is_dir():
        raise StoreError(nothing_stored(place))
    warn_if_open(place.data_dir)
    keep_running(place, port)


def keep_running(place: Place, port: int | None = None) -> None:
    """Run the embedded server until Ctrl-C or SIGTERM, and say how to reach it."""
    try:
        _run_server(place, port)
    except KeyboardInterrupt:
        show("\nThe store is stopped.")


def _run_server(place: Place, port: int | None) -> None:
    from streams.runtime.place import open_place, read_place

    with open_place(place, port=port) as url:
        with read_place(place) as reader:
            info = reader.info
        prediction, segment = info.predictions[0], info.segments[0]
        cli = f"redis-cli -s {url.removeprefix('unix://')}" if port is None else f"redis-cli -p {port}"
        address = url if port is None else f"redis://127.0.0.1:{port}/0"
        lines = [
            f"{cli} HLEN '{place.prefix}:{{0}}:rows'",
            f"{cli} ZRANGE '{place.prefix}:{{0}}:index:{prediction}' +inf 75 BYSCORE REV LIMIT 0 5 WITHSCORES",
            f"{cli} SRANDMEMBER '{place.prefix}:{{0}}:members:{segment}' 5",
            f"in Python: redis.from_url({address!r})",
            "docs/redis.md describes every key.",
        ]
        show(
            "\n[bold]The store is running.[/bold] Ctrl-C ends it; what it holds stays.",
            *(f"  {escape(line)}" for line in lines),
        )
        threading.Event().wait()
