"""`tideline simulate`: shop traffic whose true likelihoods are known."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from streams.cli.kafka import Bootstrap, LogDir, embedded_log
from streams.cli.options import Json
from streams.cli.screen import err, guarded, out

if TYPE_CHECKING:
    from streams.simulate.pacing import Pace
    from streams.simulate.run import Counts, Plan
    from streams.simulate.sinks import Sink

EXAMPLES = (
    ("tideline simulate --out shop.ndjson.gz", "1,000 users for 30 days; replay them with examples/shop/catalog.yaml"),
    ("tideline simulate --users 5000 --days 90 --out shop.ndjson --truth truth.csv", "with their true likelihoods"),
    ("tideline simulate --users 100000 --rate 2000 --out - | head", "2,000 events a second to standard output"),
    ("tideline simulate --users 1e6 --rate real --arrive-days 0.01 --out live.ndjson", "as in life, from now on"),
    ("tideline simulate --users 1e5 --start now --rate real --out kafka", "a live shop in the Kafka of the settings"),
    ("tideline simulate --users 2000 --out log --data-dir .tideline/up", "into `tideline up`, which has no Kafka"),
    ("tideline simulate --duplicates .02 --late .05 --bad .001 --out drill.ndjson", "what goes wrong on the way"),
)
STOPPED = "What was written is whole records; the same command begins anew."
MOST_USERS = 100_000_000
KAFKA, LOG = "kafka", "log"
FIRST_DAY = "2024-01-01"
"""When files begin, so that the same options give the same bytes on any day."""
DAY_MS = 86_400_000
_EVERY_S = 10.0
_LIVE_SLICE_MS = 1_000
_SLICE_EVENTS = 40_000
"""Drawn at once; where they are paced, about a second of them, so that the bar moves."""


@guarded(STOPPED)
def simulate(  # noqa: PLR0913, PLR0917  # the options of the command
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the events go, NDJSON; gzip if it ends in .gz; - for stdout; kafka for the events topic; log "
            "for the embedded log of --data-dir.",
        ),
    ],
    users: Annotated[str, typer.Option("--users", metavar="N", help="How many users; 1e6 is a million.")] = "1000",
    days: Annotated[float, typer.Option("--days", min=0.0, help="Length in days of event time.")] = 30.0,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="TIME",
            help="When it begins: ISO 8601 (UTC), or now. Else kafka and log end now, and files begin 2024-01-01.",
        ),
    ] = None,
    rate: Annotated[
        str,
        typer.Option(
            "--rate", metavar="RATE", help="Events per second; max; or real: each at its own time (--start now)."
        ),
    ] = "max",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Same seed and --start, same bytes.")] = 1,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="FILE", help="CSV of the true and the best possible likelihood per moment."),
    ] = None,
    duplicates: Annotated[
        float, typer.Option("--duplicates", min=0.0, max=1.0, help="Share of events that are sent twice.")
    ] = 0.0,
    late: Annotated[
        float, typer.Option("--late", min=0.0, max=1.0, help="Share that is sent a minute to two days late.")
    ] = 0.0,
    bad: Annotated[
        float, typer.Option("--bad", min=0.0, max=1.0, help="Share that is followed by a copy nobody can decode.")
    ] = 0.0,
    arrive_days: Annotated[
        float | None,
        typer.Option("--arrive-days", min=0.0, help="Users sign up over so many days (a third, 30 at most)."),
    ] = None,
    window_days: Annotated[
        float, typer.Option("--window-days", min=0.01, max=365.0, help="Of the goal, Order Completed, in the truth.")
    ] = 7.0,
    kafka: Bootstrap = None,
    data_dir: LogDir = None,
    as_json: Json = False,
) -> None:
    """Make the traffic of a shop: sign-ups, visits with views and searches, carts, orders and refunds.

    Users have hidden intent, so the true likelihood of an order is known at any moment, and so is the best likelihood
    that anybody can compute from what users do (docs/simulate.md). Records are track and identify of the Segment spec.
    """
    from streams.simulate.drills import Shares
    from streams.simulate.run import Plan, run_simulation

    live, per_s = rate == "real", _per_second(rate)
    plan = Plan(
        users=_whole(users),
        days=_positive("--days", days),
        start_ms=_begin_ms(start, _positive("--days", days), to, live=live),
        seed=seed,
        shares=Shares(duplicates, late, bad),
        arrive_days=arrive_days,
        window_days=window_days,
        slice_events=_SLICE_EVENTS if per_s is None else min(_SLICE_EVENTS, max(1, int(per_s))),
        slice_ms=_LIVE_SLICE_MS if live else None,
    )
    _check_outputs(to, truth, data_dir, as_json=as_json)
    if kafka is not None and str(to) != KAFKA:
        raise _refuse("--kafka", "it is for --out kafka")
    began_s = time.monotonic()
    with ExitStack() as stack:
        sink = stack.enter_context(_sink(to, data_dir, kafka))
        tell = None if truth is None else stack.enter_context(_text(truth))
        bar = stack.enter_context(_Bar(plan))
        counts = run_simulation(plan, sink, _pace(per_s, live=live), tell_truth=tell, progress=bar.tell)
    seconds = time.monotonic() - began_s
    if as_json:
        _print_json(plan, counts, seconds)
    else:
        _say(plan, counts, seconds, to, truth, data_dir)


def _refuse(option: str, words: str) -> typer.BadParameter:
    return typer.BadParameter(words, param_hint=option)


def _whole(text: str) -> int:
    """A number of users, also as 1e6 or 1_000_000."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (1 <= number <= MOST_USERS and number == int(number)):
        raise _refuse("--users", f"{text!r} is no whole number from 1 to {MOST_USERS:,}; 5000, 1e6, say")
    return int(number)


def _positive(option: str, number: float) -> float:
    if not 0 < number <= 36_500:
        raise _refuse(option, f"{number} is not above 0 and up to 36,500")
    return number


def _begin_ms(start: str | None, days: float, to: Path, *, live: bool) -> int:
    """Milliseconds since 1970 UTC: what --start says; without it a service gets history that ends now.

    Live events follow there: no time may lie between, and none of the history may be later than they are.
    """
    if start is not None:
        return _start_ms(start)
    if live or str(to) in (KAFKA, LOG):
        return _now_ms() - (0 if live else round(days * DAY_MS))
    return _start_ms(FIRST_DAY)


def _now_ms() -> int:
    return round(time.time() * 1_000)


def _start_ms(text: str) -> int:
    """Milliseconds since 1970 UTC."""
    if text == "now":
        return _now_ms()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _refuse("--start", f"{text!r} is no time; 2024-01-01, 2024-01-01T08:00:00Z or now, say") from None
    return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1_000)


def _per_second(rate: str) -> float | None:
    """Events per second; None for max and real."""
    if rate in ("max", "real"):
        return None
    try:
        per_s = float(rate)
    except ValueError:
        per_s = math.nan
    if not 0 < per_s < math.inf:
        raise _refuse("--rate", f"{rate!r} is no number above 0; 500, max or real, say")
    return per_s


def _pace(per_s: float | None, *, live: bool) -> Pace:
    from streams.simulate.pacing import AtOnce, Paced

    return Paced(per_s, time.monotonic, time.sleep) if live or per_s is not None else AtOnce()


def _check_outputs(to: Path, truth: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    if (str(to) == LOG) != (data_dir is not None):
        raise _refuse("--data-dir", "--out log and --data-dir DIR go together: the embedded log of that directory")
    if as_json and str(to) == "-":
        raise _refuse("--json", "the events go to standard output already: give --out a file")
    if truth is not None and truth == to:
        raise _refuse("--truth", "it is the file of the events: give it another name")


@contextmanager
def _sink(to: Path, data_dir: Path | None, kafka: str | None) -> Iterator[Sink]:
    """What the records go into; closed at the end, also of an interrupted run."""
    from streams.simulate.sinks import FileSink, LineSink

    if str(to) == KAFKA:
        from config.settings import load_settings
        from streams.runtime.kafka.traffic import open_traffic

        with open_traffic(load_settings(kafka_bootstrap_servers=kafka)) as traffic:
            yield traffic
        return
    if (folder := embedded_log(data_dir)) is not None:
        from config.settings import load_settings
        from streams.runtime.embedded.produce import open_traffic as open_log_traffic

        with open_log_traffic(folder, load_settings()) as appended:
            yield appended
        return
    if str(to) != "-":
        sink = FileSink(to)
        try:
            yield sink
        finally:
            sink.close()
        return
    lines = LineSink(sys.stdout.buffer, "standard output")
    try:
        yield lines
        lines.close()
    except BrokenPipeError:
        # `| head` has enough. Python would complain once more when it closes the pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


@contextmanager
def _text(path: Path) -> Iterator[Callable[[str], None]]:
    """Writes text into a new file, gzip if its name ends in .gz."""
    from streams.simulate.sinks import FileSink

    file = FileSink(path)
    try:
        yield lambda text: file.write(text.encode())
    finally:
        file.close()


class _Bar:
    """How far it is in event time: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._console = err()
        self._began_s = self._said_s = time.monotonic()
        self._task = TaskID(0)
        self._progress = Progress(
            TextColumn("{task.fields[date]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def tell(self, counts: Counts, done_ms: int) -> None:
        from streams.runtime.words import date

        now_s = time.monotonic()
        words = f"{counts.records:,} events, {counts.records / max(now_s - self._began_s, 1e-3):,.0f}/s"
        day = date((self._plan.start_ms + done_ms) / 1_000.0)
        if self._console.is_terminal:
            self._progress.update(self._task, completed=done_ms, date=day, speed=words)
        elif now_s - self._said_s > _EVERY_S:
            self._said_s = now_s
            self._console.print(f"{done_ms / self._plan.end_ms:.0%}: {day}, {words}")

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task("", total=self._plan.end_ms, date="started", speed="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _print_json(plan: Plan, counts: Counts, seconds: float) -> None:
    import json

    found = {
        "users": plan.users,
        "users_seen": counts.users,
        "days": plan.days,
        "start_s": plan.start_ms / 1_000.0,
        "seed": plan.seed,
        "seconds": round(seconds, 3),
        "records": counts.records,
        "bytes": counts.bytes,
        "events": counts.events,
        "duplicates": counts.duplicates,
        "late": counts.late,
        "bad": counts.bad,
        "truth_moments": counts.moments,
    }
    typer.echo(json.dumps(found))


def _say(plan: Plan, counts: Counts, seconds: float, to: Path, truth: Path | None, data_dir: Path | None) -> None:
    """What was made, on standard error: standard output may be the events."""
    from rich.markup import escape

    console = err() if str(to) == "-" else out()
    events = sum(counts.events.values())
    speed = counts.records / max(seconds, 1e-3)
    console.print(
        f"{events:,} events of {counts.users:,} users over {plan.days:g} days, "
        f"{counts.events['Order Completed']:,} of them orders; {counts.bytes / 1e6:,.1f} MB in "
        f"{seconds:,.1f} s ({speed:,.0f} records a second)."
    )
    if counts.records > events or counts.late:
        console.print(
            f"Among them {counts.late:,} late; besides {counts.duplicates:,} repeated and {counts.bad:,} broken."
        )
    if counts.users < plan.users:
        console.print(f"{plan.users - counts.users:,} users have not signed up by then (--arrive-days).")
    if truth is not None:
        console.print(f"The truth at {counts.moments:,} moments is in {escape(str(truth))} (docs/simulate.md).")
    if str(to) == KAFKA:
        console.print("Next: [bold]tideline lag[/bold], [bold]tideline tail segment-events --from-start[/bold]")
    elif data_dir is not None:
        where = f"--data-dir {escape(shlex.quote(str(data_dir)))}"
        console.print(f"Next: [bold]tideline lag {where}[/bold], [bold]tideline tail segment-events {where}[/bold]")
    elif str(to) != "-":
        console.print(f"Next: [bold]tideline replay {escape(str(to))} -c examples/shop/catalog.yaml[/bold]")
