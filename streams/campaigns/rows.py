"""What becomes of a row when users are deleted, and campaigns are taken away."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from streams.campaigns.plan import Plan
from streams.campaigns.state import Books, Row


def forget(row: Row, books: Books) -> None:
    """The user goes: nobody waits for them any more."""
    for id_ in list(row.journeys):
        leave(row, books, id_)
    for id_ in row.assigned:
        _close(row, books, id_)


def leave(row: Row, books: Books, id_: str) -> None:
    """The user is no longer in the journey."""
    book = books.change(id_)
    at = row.journeys.pop(id_)
    book.move(book.inside, at.version, -1)
    book.move(book.at, at.step, -1)


def _close(row: Row, books: Books, id_: str) -> None:
    assigned = row.assigned[id_]
    if assigned.is_open:
        assigned.is_open = False
        book = books.change(id_)
        book.move(book.open, assigned.version, -1)


def prune(row: Row, plan: Plan, books: Books) -> bool:
    """Leave out what belongs to campaigns, versions and segments that are no more. True if there was anything."""
    taken_away = [id_ for id_, at in row.journeys.items() if plan.journey(id_, at.version) is None]
    for id_ in taken_away:
        leave(row, books, id_)
        books.change(id_).count("gone")
    unknown = [id_ for id_, each in row.assigned.items() if each.is_open and plan.rules(id_, each.version) is None]
    for id_ in unknown:
        _close(row, books, id_)
    found = len(taken_away) + len(unknown)
    for names in (row.assigned, row.waiting, row.entered_s, row.scheduled, row.refused):
        found += _keep(names, plan.versions)
    return found + _keep(row.crossings, plan.segments) > 0


def _keep(found: dict[str, Any], known: Container[str]) -> int:
    """Leave out what is not known; how much that was."""
    gone = [name for name in found if name not in known]
    for name in gone:
        del found[name]
    return len(gone)
