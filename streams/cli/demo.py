"""`tideline demo`: the whole job on real data, with nothing to install or to know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from streams.cli.options import Fresh, warn_if_open
from streams.cli.replay import RESUME, finish, show_outcome, where_options
from streams.cli.screen import TerminalWatcher, guarded, show

EXAMPLES = (
    ("tideline demo", "run it, or show its result again"),
    ("tideline demo --keep", "and keep its store running, to look into it with redis-cli"),
    ("tideline demo --fresh", "run it anew"),
)


@guarded(RESUME)
def demo(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where to keep everything (.tideline/demo).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the store running until Ctrl-C.")] = False,
    fresh: Fresh = False,
) -> None:
    """Run the whole job on real data: 69,659 purchases of 23,570 customers of a music shop, 1997 and 1998.

    It starts a private server, scores every customer at every purchase and in silence, learns from every outcome,
    and writes down each crossing. Everything is kept in .tideline/demo.
    """
    from config.errors import InputError
    from config.loader import load_catalog
    from config.settings import load_settings
    from streams.runtime.job import Job, run_job
    from streams.runtime.place import REPORT_FILE, TRANSITIONS_FILE, Place

    folder = Path(__file__).resolve().parents[2] / "examples" / "cdnow"
    if not folder.is_dir():
        raise InputError(str(folder), "is not here: the demo needs the examples of a checkout of Tideline")
    # The embedded server always, and in a place of its own: the demo must not meet a store of the user's.
    where = data_dir
    if where is None:
        load_settings().data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        where = load_settings().data_dir / "demo"
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    warn_if_open(where)
    place = Place(where)
    job = Job(
        (folder / "events.csv.gz",), load_catalog(folder / "catalog.yaml"), place, where / TRANSITIONS_FILE, fresh
    )
    report = where / REPORT_FILE
    with TerminalWatcher() as watcher:
        outcome = run_job(job, watcher)
        latest = finish(job, outcome, report, watcher)
    show_outcome(job, outcome, latest, report)
    show(*_next(where_options(job), latest[0].data.user_id if latest else "00001", report, folder))
    if keep:
        from streams.cli.store import keep_running

        keep_running(place)


def _next(where: str, user: str, report: Path, folder: Path) -> list[str]:
    catalog = folder / "catalog.yaml"
    shown = catalog.relative_to(Path.cwd()) if catalog.is_relative_to(Path.cwd()) else catalog
    lines = [
        f"open {report}  (in a browser)",
        f"tideline user {user}{where}",
        f"tideline segment regulars_at_risk{where}",
        f"tideline store{where}  (and in another terminal: redis-cli, see docs/redis.md)",
        f"look at {shown}, then write one for your own events: README.md, your own data in five minutes",
    ]
    return ["[bold]What to try next[/bold]", *(f"  {escape(line)}" for line in lines)]
