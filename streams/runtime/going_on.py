"""Whether a run can go on with the files that are given now, and what to say if it cannot.

A run goes on with the files that it has read, in their order, and with any others behind them. What came of it equals
one run over all files at once, so what was read before must not depend on the files that came later.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from streams.adapters.file_order import Stretch
from streams.adapters.files import FileInfo
from streams.runtime.about import InputFile, Run
from streams.runtime.words import count, moment

_LISTED = 12


class Files(Protocol):
    """The part of a log that counts here."""

    @property
    def read_files(self) -> tuple[FileInfo, ...]: ...

    @property
    def stretches(self) -> tuple[Stretch, ...]: ...


def first_difference(run: Run, given: Sequence[FileInfo]) -> int | None:
    """The first file of a run that is not the one given at its place; None if all are."""
    for at, stored in enumerate(run.files):
        if at >= len(given) or given[at].digest != stored.digest:
            return at
    return None


HasGrown = Callable[[FileInfo, InputFile], bool]
"""Whether a file begins with the content of the one that was read."""


def why_not(run: Run, log: Files, has_grown: HasGrown = lambda _given, _read: False) -> list[str]:
    """Why the run cannot go on with the files of a log, and what would do, in some lines; nothing if it can."""
    given = log.read_files
    at = first_difference(run, given)
    if at is not None:
        return [*_about_difference(run, given, at, has_grown), *_how(run, given), *_lists(run, given)]
    if any(stretch.files == len(run.files) for stretch in log.stretches):
        return []
    return _about_overlap(run, log)


def _about_difference(run: Run, given: Sequence[FileInfo], at: int, has_grown: HasGrown) -> list[str]:
    stored = run.files[at]
    digests = [file.digest for file in given]
    if stored.digest in digests:
        place = digests.index(stored.digest)
        return [f"{stored.name} stands at place {place + 1} now, and was read at place {at + 1}."]
    same_name = next((file for file in _new(run, given) if Path(file.name).name == stored.name), None)
    if same_name is None:
        return [f"{stored.name}, which the run has read, is not among the files that are given now."]
    if has_grown(same_name, stored):
        return [
            f"{stored.name} has grown from {count(stored.rows)} to {count(same_name.rows)} rows.",
            f"Keep it as it was, and put the rows behind row {count(stored.rows)} into another (a CSV with a header).",
        ]
    return [f"{stored.name} has changed since it was read."]


def _new(run: Run, given: Sequence[FileInfo]) -> list[FileInfo]:
    known = {file.digest for file in run.files}
    return [file for file in given if file.digest not in known]


def _how(run: Run, given: Sequence[FileInfo]) -> list[str]:
    """The command that goes on."""
    places = {file.digest: file.name for file in given}
    old = [places.get(file.digest, file.name) for file in run.files]
    names = {file.name for file in run.files}
    new = [file.name for file in _new(run, given) if Path(file.name).name not in names]
    files = shlex.join([*old, *new][:_LISTED])
    return [
        "A run goes on with the files that it has read, unchanged and in the same order, and new ones behind them:",
        f"  tideline replay {files} {'...' if len(old) + len(new) > _LISTED else ''}".rstrip(),
    ]


def _lists(run: Run, given: Sequence[FileInfo]) -> list[str]:
    return [
        f"then: {_listed(run.files)}",
        f"now: {_listed(given)}",
        "(the content counts, and the order of the files; not their names)",
    ]


def _listed(files: Sequence[FileInfo] | Sequence[InputFile]) -> str:
    words = [f"{Path(file.name).name} ({file.rows:,} rows)" for file in files[:_LISTED]]
    return ", ".join(words) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")


def _about_overlap(run: Run, log: Files) -> list[str]:
    """Of files that were put behind the others and do not begin where those end."""
    joined = next(stretch.files for stretch in log.stretches if stretch.files > len(run.files))
    new = log.read_files[len(run.files) : joined]
    lines = [f"{file.name}: {moment(file.first_time_s)} to {moment(file.last_time_s)} (UTC)" for file in new[:_LISTED]]
    return [
        f"The run has read all until {moment(run.last_time_s)} (UTC), and too many of the new rows are earlier:",
        *(f"  {line}" for line in lines),
        "Files that overlap in time are read together, in the order of their times, so all must be there at the start.",
    ]
