"""The terminal: results go to standard output, everything else (progress, notes, errors) to standard error."""

from __future__ import annotations

import functools
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, ParamSpec, Self, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.status import Status
from rich.table import Table

from config.errors import CatalogError, SettingsError, TidelineError
from streams.runtime.words import printable, printable_json

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

    from config.settings import Settings
    from streams.runtime.logs import Logs
    from streams.runtime.precompile import Steps

P = ParamSpec("P")
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_PARTS = 10_000
_WIDE = 10_000
_EVERY_S = 10.0
"""How often a line says how far it is where there is no terminal for a bar."""


class _Screen(Console):
    """A console that sends no command to the terminal but its own, whatever the text is that it shows."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            # Lines end where we end them: what comes from users went through `printable` before, ends of lines too.
            yield segment if control else Segment("\n".join(map(printable, text.split("\n"))), style)


def out() -> Console:
    """For results."""
    return _console(sys.stdout)


def err() -> Console:
    """For everything else."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    """With colours and line breaks on a terminal; elsewhere plain lines as long as they are, for grep and logs."""
    if stream.isatty():
        return _Screen(file=stream, highlight=False)
    return _Screen(file=stream, highlight=False, soft_wrap=True, force_terminal=False, color_system=None, width=_WIDE)


def show(*results: RenderableType) -> None:
    """Print results, one after another."""
    console = out()
    for result in results:
        if isinstance(result, Table):
            console.print()
            _print_table(console, result)
        else:
            console.print(result)


def show_lines(*lines: str) -> None:
    """Print lines that are never broken: commands and paths, which people copy."""
    console = out()
    for line in lines:
        console.print(line, soft_wrap=True)


def _print_table(console: Console, table: Table) -> None:
    """A table whose title and caption are not broken at its own width, which may be small."""
    title, caption = table.title, table.caption
    table.title = table.caption = None
    for part in (title, table, caption):
        if part is not None:
            console.print(part)
    table.title, table.caption = title, caption


def echo_json(value: object, *, allow_nan: bool = True) -> None:
    """Print a value as JSON in one line."""
    typer.echo(printable_json(json.dumps(value, ensure_ascii=False, allow_nan=allow_nan)))


def confirm(question: str, *, yes: bool, instead: str) -> None:
    """Ask before something that cannot be undone, unless `yes`. Ends the command if the answer is no.

    Raises SettingsError where nobody can be asked; `instead` says what to give then.
    """
    if yes:
        return
    if not can_ask():
        raise SettingsError(f"nothing is done without being asked here: give {instead}")
    typer.confirm(question, abort=True, err=True)


def can_ask() -> bool:
    """Whether somebody sits there who can answer."""
    return sys.stdin.isatty()


def warn(first: str, *others: str) -> None:
    """Say what must not be overlooked, and does not end the command."""
    console = err()
    console.print(f"[bold yellow]Warning:[/bold yellow] {escape(first)}")
    for line in others:
        console.print(escape(line))


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, so that everything that is open is closed on the way out."""


class Said:
    """How a process that serves tells what is no line of its log: on a terminal, or in that log where it is JSON."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._console = err()
        self.watcher: Steps = logs if logs.is_json else TerminalWatcher()
        """Is told of what takes a while."""

    def say(self, words: str) -> None:
        """What an operator has to know."""
        if self._logs.is_json:
            self._logs.say(words)
        else:
            self._console.print(words, markup=False, highlight=False)


def begin_logs(settings: Settings) -> Said:
    """A process that serves begins to log, as its settings say."""
    from streams.runtime.logs import begin_logging

    return Said(begin_logging(settings))


def end_on_sigterm() -> None:
    """Turn SIGTERM into `Terminated`, once: what cleans up afterwards is not interrupted again."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, handle)


def stop_on_signals(stopping: threading.Event) -> None:
    """From now on Ctrl-C and SIGTERM set `stopping`, whatever this thread is doing then."""
    heard: SimpleQueue[None] = SimpleQueue()

    def pass_on() -> None:
        heard.get()
        stopping.set()

    # Not in the handler: it may interrupt this thread where that holds the event's own lock, and would wait for ever.
    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: heard.put(None))


def guarded(on_interrupt: str | None = None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A command whose expected errors become one message and their exit code.

    `on_interrupt`: what to say after Ctrl-C or SIGTERM. Any other exception is a bug and keeps its traceback.
    """

    def wrap(command: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                command(*args, **kwargs)
            except TidelineError as error:
                fail(error)
            except KeyboardInterrupt as interrupt:
                _end(interrupt, on_interrupt)
            except SystemError as error:
                # A signal that arrives while compiled code hands an array back comes out as this, around it.
                if not isinstance(error.__cause__, KeyboardInterrupt):
                    raise
                _end(error.__cause__, on_interrupt)

        return run

    return wrap


def _end(interrupt: KeyboardInterrupt, words: str | None) -> NoReturn:
    word, code = ("Ended", TERMINATED) if isinstance(interrupt, Terminated) else ("Interrupted", INTERRUPTED)
    err().print(f"\n[yellow]{word}.[/yellow] {words or ''}".rstrip())
    raise typer.Exit(code) from None


def fail(error: TidelineError) -> None:
    """Say what is wrong, and end with the error's exit code."""
    from streams.runtime.logs import tell_end

    if tell_end(str(error), error.exit_code):
        raise typer.Exit(error.exit_code)
    console = err()
    if isinstance(error, CatalogError):
        number = len(error.problems)
        console.print(f"[bold red]{escape(error.source)}[/bold red]: {number} problem{'s' if number > 1 else ''}")
        for problem in error.problems:
            line = "" if problem.line is None else f"line {problem.line}"
            place = ", ".join(part for part in (line, problem.path) if part)
            console.print(f"  [bold]{escape(place)}[/bold]" if place else "  [bold]the whole[/bold]")
            console.print(f"    found    {escape(problem.found)}")
            console.print(f"    expected {escape(problem.expected)}")
    else:
        console.print(f"[bold red]Error:[/bold red] {escape(str(error))}")
    raise typer.Exit(error.exit_code)


class TerminalWatcher:
    """Shows how a job goes (`streams.runtime.job.Watcher`): a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = err()
        self._status: Status | None = None
        self._words = ""
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._rows = 0
        self._span_s = (math.nan, math.nan)
        self._start = (0.0, 0)
        self._said_s = 0.0

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        if not self._console.is_terminal:
            self._console.print(f"{words} ...")
            yield
            return
        self._words = words
        with self._console.status(f"{words} ...") as self._status:
            yield
        self._status = None

    def scanned(self, done_bytes: int, total_bytes: int) -> None:
        if self._status is not None and total_bytes:
            self._status.update(f"{self._words} {min(1.0, done_bytes / total_bytes):.0%}")

    def covers(self, first_s: float, last_s: float) -> None:
        self._span_s = (first_s, last_s)

    def begin(self, position: int, rows: int) -> None:
        self.close()
        self._rows = rows
        self._start = (time.monotonic(), position)
        self._said_s = self._start[0]
        if position:
            self._console.print(f"Going on at {position:,} of {rows:,} events.")
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.fields[date]}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(compact=True),
                console=self._console,
            )
            done = round(_PARTS * position / rows)
            self._task = self._progress.add_task("", total=_PARTS, completed=done, date="started", speed="")
            self._progress.start()

    def advance(self, position: int, clock_s: float) -> None:
        from streams.runtime.words import date

        now_s = time.monotonic()
        speed = (position - self._start[1]) / max(now_s - self._start[0], 1e-3)
        words = f"{position:,} events, {speed:,.0f}/s"
        if self._progress is not None:
            done = round(_PARTS * self._part(position, clock_s))
            self._progress.update(self._task, completed=done, date=date(clock_s), speed=words)
        elif not self._console.is_terminal and now_s - self._said_s > _EVERY_S:
            self._said_s = now_s
            self._console.print(f"{self._part(position, clock_s):.0%}: {date(clock_s)}, {words}")

    def note(self, words: str) -> None:
        self._console.print(f"[dim]note:[/dim] {escape(words)}")

    def close(self) -> None:
        """Take the bar away from the screen's control; does nothing when there is none."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _part(self, position: int, clock_s: float) -> float:
        """How much of the work is done: rows cost time, and so does event time, in which silent users are looked at."""
        of_rows = position / self._rows
        first_s, last_s = self._span_s
        if not last_s > first_s or math.isnan(clock_s) or position == self._rows:
            return of_rows
        return (of_rows + min(1.0, max(0.0, (clock_s - first_s) / (last_s - first_s)))) / 2
