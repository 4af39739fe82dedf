"""Records that could not be used: looked into, and put back on the log as they were or corrected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from streams.api.app import Parts
from streams.api.dead_letters import DeadLetterView, views
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.api.redriving import Letter
from streams.console.pages import TEXTS
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.core.events import DeadReason
from streams.runtime.hints import DeadLetter
from streams.runtime.words import printable

_PAGE: Final = 50
_SHOWN: Final = 160
"""So many characters of a record are shown in the list."""
_GOING_ON: Final = frozenset({"sending", "waiting"})


class Row(NamedTuple):
    """One record in the list."""

    id: str
    place: str
    words: str
    """What is wrong."""
    start: str


class RefusedPages:
    """The list, and one of them with the form that puts it back."""

    def __init__(self, parts: Parts) -> None:
        self._letters = parts.letters

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/system/refused", "GET", Role.READ, self.show)
        yield PageRoute("/system/refused/one", "GET", Role.READ, self.one)
        yield PageRoute("/system/refused/one", "POST", Role.ADMIN, self.put_back)

    def show(self, visit: Visit) -> Response:
        """The latest ones, of all reasons or of one. Raises `Problem`, StoreError."""
        given = visit.query.get("reason", "")
        reason = given if given in {each.value for each in DeadReason} else None
        found, after = self._letters.page(reason, visit.query.get("after") or None, _PAGE)
        rows = [_row(visit, letter) for letter in found]
        return visit.render("refused.html", rows=rows, reason=reason, after=after)

    def one(self, visit: Visit) -> Response:
        """One of them. Raises NotStored, StoreError."""
        return self._shown(visit, visit.query.get("id", ""))

    async def put_back(self, visit: Visit) -> Response:
        """Put it on the log; what keeps it from being taken is told beside what was written.

        Raises NotStored, StoreError, BrokerUnavailable, `Problem` for what is no matter of the form.
        """
        assert visit.caller is not None
        id_, written = visit.form.get("id", ""), visit.form.get("record", "")
        letter = await run_in_threadpool(self._letters.find, id_)
        kept = letter.said.raw
        as_it_was = kept is not None and not letter.said.truncated and _lines(written) == _lines(kept)
        try:
            await self._letters.redrive(id_, None if as_it_was else written, visit.caller.key_id)
        except Problem as problem:
            if problem.kind not in (Kind.INVALID_EVENT, Kind.CANNOT_REDRIVE):
                raise
            return await run_in_threadpool(self._shown, visit, id_, problem, written)
        return visit.go(f"/system/refused/one?id={id_}")

    def _shown(self, visit: Visit, id_: str, problem: Problem | None = None, written: str | None = None) -> Response:
        letter = self._letters.find(id_)
        (view,) = views(self._letters, [letter])
        redriven = view.redriven
        return visit.render(
            "refused_one.html",
            status=200 if problem is None else problem.kind.status,
            view=view,
            words=_words(visit, view.reason),
            place=printable(letter.said.place),
            detail=printable(view.detail),
            shown=_shown_bytes(letter.said),
            written=_editable(view) if written is None else written,
            problem=None if problem is None else TEXTS[visit.language].errors[problem.kind.slug],
            problem_detail=None if problem is None else printable(str(problem.detail)),
            may_put_back=visit.caller is not None and visit.caller.role.allows(Role.ADMIN),
            is_going_on=redriven is not None and redriven.outcome in _GOING_ON,
        )


def _row(visit: Visit, letter: Letter) -> Row:
    said = letter.said
    return Row(letter.id, printable(said.place), _words(visit, said.reason)[0], said.start(_SHOWN))


def _words(visit: Visit, reason: str) -> tuple[str, str]:
    """What is wrong, and what to do."""
    return TEXTS[visit.language].refusals.get(reason, (reason, ""))


def _shown_bytes(said: DeadLetter) -> str:
    """The whole record in one line; what is no character to be shown is escaped."""
    return said.start(1 << 20)


def _editable(view: DeadLetterView) -> str:
    """What the form begins with: the record, where it is text."""
    return view.record or ""


def _lines(text: str) -> str:
    """Browsers send line ends of their own."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
