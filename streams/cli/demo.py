"""`tideline demo`: the whole job on real data, with nothing to install or to know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.advice import command
from streams.cli.options import Fresh, warn_if_open
from streams.cli.replay import RESUME, advice_lines, finish, look_lines, show_outcome, where_options
from streams.cli.report_file import check_report
from streams.cli.screen import TerminalWatcher, guarded, show_lines

if TYPE_CHECKING:
    from streams.runtime.job import Job, Outcome
    from streams.runtime.transition_log import Transition

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cdnow"
EXAMPLES = (
    ("tideline demo", "run it, or show its result again"),
    ("tideline demo --keep", "and keep its store running, to look into it with redis-cli"),
    ("tideline demo --fresh", "run it anew"),
    ("tideline demo --live", "the whole service with its console, and a shop in which something happens"),
)


@guarded(RESUME)
def demo(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where to keep everything (.tideline/demo).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the store running until Ctrl-C.")] = False,
    fresh: Fresh = False,
    live: Annotated[
        bool, typer.Option("--live", help="Run the whole service with its console and a shop, until Ctrl-C.")
    ] = False,
    browse: Annotated[bool, typer.Option("--open", help="With --live: open the console in a browser.")] = False,
    api_port: Annotated[
        int | None, typer.Option("--api-port", metavar="PORT", help="With --live: of API and console (8080).")
    ] = None,
    users: Annotated[
        int | None,
        typer.Option("--users", metavar="N", min=1, help="With --live: so many visit the shop (100000)."),
    ] = None,
) -> None:
    """Run the whole job on real data: 69,659 purchases of 23,570 customers of a music shop, 1997 and 1998.

    It starts a private server, scores every customer at every purchase and in silence, learns from every outcome,
    and writes down each crossing. Everything is kept in .tideline/demo. It ends by itself.

    With --live it stays: the same purchases are moved up to this month, their customers go on in a simulated shop as
    you look, and the console shows it. The address that is printed signs you in. All of it is in .tideline/demo-live.
    """
    from config.errors import InputError
    from config.loader import load_catalog
    from config.settings import load_settings
    from streams.runtime.job import Job, run_job
    from streams.runtime.place import REPORT_FILE, TRANSITIONS_FILE, Place

    if not _EXAMPLE.is_dir():
        raise InputError(str(_EXAMPLE), "is not here: the demo needs the examples of a checkout of Tideline")
    # The embedded server always, and in a place of its own: the demo must not meet a store of the user's.
    _refuse_mixed(live=live, of_live=browse or api_port is not None or users is not None, of_job=keep or fresh)
    where = data_dir
    if where is None:
        load_settings().data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        where = load_settings().data_dir / ("demo-live" if live else "demo")
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    warn_if_open(where)
    if live:
        from streams.cli.demo_live import run_live

        run_live(_EXAMPLE.parent, where, api_port, users, browse=browse)
        return
    place = Place(where)
    job = Job(
        (_EXAMPLE / "events.csv.gz",), load_catalog(_EXAMPLE / "catalog.yaml"), place, where / TRANSITIONS_FILE, fresh
    )
    report = where / REPORT_FILE
    check_report(report, place, {})
    with TerminalWatcher() as watcher:
        outcome = run_job(job, watcher)
        latest = finish(job, outcome, report, watcher)
    show_outcome(job, outcome, latest, report)
    show_lines(*advice_lines(_next(job, outcome, latest, report)))
    if keep:
        from streams.cli.store import keep_running

        keep_running(place)


def _refuse_mixed(*, live: bool, of_live: bool, of_job: bool) -> None:
    """Raises SettingsError for options of the other kind of demonstration."""
    from config.errors import SettingsError

    if live and of_job:
        raise SettingsError("--keep and --fresh are not for --live: it stays, and begins anew in another --data-dir")
    if of_live and not live:
        raise SettingsError("--open, --api-port and --users are for `tideline demo --live`")


def _next(job: Job, outcome: Outcome, latest: tuple[Transition, ...], report: Path) -> list[str]:
    catalog = _EXAMPLE / "catalog.yaml"
    shown = catalog.relative_to(Path.cwd()) if catalog.is_relative_to(Path.cwd()) else catalog
    return [
        f"open {report}  (in a browser)",
        *look_lines(job, outcome, latest, "regulars_at_risk"),
        f"{command()} demo --live  (the whole service: a console, and a shop in which something happens)",
        f"{command()} store{where_options(job)}  (and in another terminal: redis-cli, see docs/redis.md)",
        f"look at {shown}, then write one for your own events: README.md, your own data in five minutes",
    ]
