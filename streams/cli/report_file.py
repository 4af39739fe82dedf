"""Where a report may be written: never over something that is not one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.runtime.place import Place

_BEGINNING: Final = b"<!doctype html"
"""Of every report, and of nothing else that a run reads or writes."""


def check_report(report: Path, place: Place, used: Mapping[str, Iterable[Path]]) -> None:
    """Refuse a report that could not be written, or would cost something, before the long run.

    `used`: the files that the run reads or writes itself, by what they are. Raises InputError.
    """
    from config.errors import InputError

    reason = _why_not(report, place, used)
    if reason is not None:
        raise InputError(str(report), f"{reason}, so the report cannot be written to it")


def _why_not(report: Path, place: Place, used: Mapping[str, Iterable[Path]]) -> str | None:
    from streams.runtime.place import is_inside

    if report.is_dir():
        return "is a folder"
    if not report.parent.is_dir() and not is_inside(place, report):
        return f"the folder {report.parent} does not exist"
    for what, files in used.items():
        if any(_same(report, file) for file in files):
            return f"is {what}"
    if not report.exists():
        return None
    if not report.is_file():
        return "is no regular file"
    return None if _is_page(report) else "exists already and is no page of HTML"


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve() or (first.exists() and second.exists() and first.samefile(second))


def _is_page(path: Path) -> bool:
    """Whether an existing file begins as reports do, or is empty. Raises InputError if it cannot be read."""
    from config.errors import InputError

    try:
        with path.open("rb") as file:
            start = file.read(len(_BEGINNING))
    except OSError as error:
        raise InputError(str(path), f"cannot be read, so no report is written over it: {error.strerror}") from error
    return not start or start.lower() == _BEGINNING
