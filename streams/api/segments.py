"""Segments and their members: all of them, a page, or everybody as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Final, Literal

from fastapi import FastAPI, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from streams.adapters.redis_reader import RedisReader, ScanPlace, StaleScan
from streams.api.auth import Authenticator, access
from streams.api.definer import Definer
from streams.api.definitions_view import DefinitionsView
from streams.api.document import problems
from streams.api.exports import ExportResponse
from streams.api.keys import Role
from streams.api.pages import invalid_cursor, members_cursor, members_place
from streams.api.problems import Kind, Problem
from streams.api.read_predictions import require
from streams.api.services import Services
from streams.api.standing import predictions_below
from streams.api.stored import NothingYet, StoreReads
from streams.api.taking_up import TakingUp
from streams.api.views import MemberPage, MemberView, ScoreView, SegmentList, SegmentStatus, SegmentView, time_text
from streams.runtime.members import Member, chosen_members, describe
from streams.runtime.spreadsheet import harmless
from streams.runtime.stored import StoredState
from streams.runtime.summary import predictions_of_segment

MAX_PAGE: Final = 1_000
_CHUNK: Final = 500
_MEDIA: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="About so many; some more may come at once.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=2_000)]
Scores = Annotated[
    list[str] | None,
    Query(
        description="Predictions whose scores are wanted; may be given more than once. Without it: all that are live.",
        max_length=100,
    ),
]
Format = Annotated[Literal["ndjson", "csv"], Query(description="A JSON object a line, or a table.")]


def add_segments(
    app: FastAPI, services: Services, definer: Definer, taking_up: TakingUp, authenticator: Authenticator
) -> None:
    """Add the routes of segments."""
    stored = services.stored

    @app.get(
        "/v1/segments",
        tags=["segments"],
        operation_id="listSegments",
        summary="All segments, with their sizes",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def all_segments() -> SegmentList:
        return list_segments(stored, definer)

    @app.get(
        "/v1/segments/{segment_id}",
        tags=["segments"],
        operation_id="getSegment",
        summary="One segment",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_segment(segment_id: str) -> SegmentView:
        return get_segment(stored, definer, segment_id)

    @app.get(
        "/v1/segments/{segment_id}/members",
        tags=["segments"],
        operation_id="listMembers",
        summary="The members of a segment, a page at a time, in no order",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    async def members(segment_id: str, limit: Limit = 100, cursor: Cursor = None) -> MemberPage:
        if not await taking_up.is_kept(segment_id):
            return MemberPage(items=[], next_cursor=None)
        return await run_in_threadpool(list_members, stored, segment_id, limit, cursor)

    @app.get(
        "/v1/segments/{segment_id}/export",
        tags=["segments"],
        operation_id="exportMembers",
        summary="All members of a segment with their scores, as a file",
        response_class=Response,
        responses={
            200: {
                "description": "One member a line, in no order.",
                "content": {"application/x-ndjson": {}, "text/csv": {}},
            },
            **problems(404, 409, 422),
        },
        **access(authenticator, Role.READ),
    )
    async def export(
        segment_id: str,
        format: Format = "ndjson",  # noqa: A002  the parameter's name
        scores: Scores = None,
    ) -> Response:
        is_kept = await taking_up.is_kept(segment_id)
        return await run_in_threadpool(export_members, services, segment_id, format, scores, is_kept=is_kept)


def list_segments(stored: StoreReads, definer: Definer) -> SegmentList:
    """All segments: those that shards work with, then what they have not taken up. Raises `Problem`, StoreError."""
    view = definer.view()
    new = [id_ for id_, segment in view.whole.segments.items() if not segment.archived]
    with _known(stored) as (reader, state):
        known = () if state is None else state.definitions.segment_ids
        return SegmentList(items=[_view(reader, state, view, name) for name in dict.fromkeys([*known, *new])])


def get_segment(stored: StoreReads, definer: Definer, segment_id: str) -> SegmentView:
    """One segment. Raises NotStored, `Problem`, StoreError."""
    view = definer.view()
    with _known(stored) as (reader, state):
        known = () if state is None else state.definitions.segment_ids
        require("segment", segment_id, dict.fromkeys([*known, *view.whole.segments]))
        return _view(reader, state, view, segment_id)


def list_members(stored: StoreReads, segment_id: str, limit: int, cursor: str | None) -> MemberPage:
    """About `limit` members. Raises NotStored, `Problem` (for a cursor of something else, too), StoreError."""
    with stored.reader() as reader:
        state = _state_with(stored, reader, segment_id)
        place = members_place(segment_id, cursor, reader.info.shards)
        users, behind = _page(reader, segment_id, place, limit)
        found = describe(reader, state, segment_id, users, state.catalog.predictions)
        return MemberPage(items=[member_view(each) for each in found], next_cursor=members_cursor(segment_id, behind))


def export_members(
    services: Services,
    segment_id: str,
    form: Literal["ndjson", "csv"],
    scores: list[str] | None,
    *,
    is_kept: bool = True,
) -> Response:
    """A file of all members: of nobody for one that shards do not keep any more.

    Raises NotStored, `Problem` (where too many are being sent, too), StoreError.
    """
    stored = services.stored
    services.exports.check()
    with stored.reader() as reader:
        state = _state_with(stored, reader, segment_id) if is_kept else stored.a_state(reader)
    predictions = _exported(state, scores)
    lines = _LINES[form]

    def content() -> Generator[bytes, None, None]:
        with stored.reader() as reader:
            users = chosen_members(reader, segment_id)
            yield from lines(describe(reader, state, segment_id, users, predictions), predictions)

    name = {"Content-Disposition": f'attachment; filename="{segment_id}.{form}"'}
    return ExportResponse(services.exports, content(), _MEDIA[form], name)


def member_view(member: Member) -> MemberView:
    """A member as it is answered."""
    return MemberView(
        user_id=member.user,
        since=time_text(member.since_s),
        entry_count=member.entry_count,
        scores={
            name: ScoreView(score=score.score, likelihood=score.likelihood, category=score.category)
            for name, score in member.scores.items()
        },
    )


def _state_with(stored: StoreReads, reader: RedisReader, segment: str) -> StoredState:
    """Raises NotStored for a segment that does not exist."""
    state = stored.a_state(reader)
    require("segment", segment, state.definitions.segment_ids)
    return state


def _exported(state: StoredState, wanted: list[str] | None) -> tuple[str, ...]:
    """The predictions whose scores go into a file: a file is there to be used. Raises NotStored, `Problem`."""
    known = state.catalog.predictions
    if wanted is None:
        return tuple(name for name, prediction in known.items() if prediction.access == "live")
    for name in wanted:
        require("prediction", name, known)
        if known[name].access != "live":
            raise Problem(
                Kind.NOT_TARGETABLE,
                f"the scores of {name} are only to be looked at, as its access is {known[name].access}; set access: "
                "live in its definition to use them",
            )
    return tuple(dict.fromkeys(wanted))


@contextmanager
def _known(stored: StoreReads) -> Iterator[tuple[RedisReader | None, StoredState | None]]:
    """A reader and the state of a shard; neither where nothing is stored yet. Raises StoreUnavailable."""
    with ExitStack() as open_:
        found: tuple[RedisReader | None, StoredState | None] = None, None
        try:
            reader = open_.enter_context(stored.reader())
            found = reader, stored.a_state(reader)
        except NothingYet:
            pass  # it is as it was
        yield found


def _view(reader: RedisReader | None, state: StoredState | None, view: DefinitionsView, name: str) -> SegmentView:
    """As it is defined now, with the members that it has by what shards have taken up."""
    if state is None or name not in state.definitions.segment_ids:
        segment = view.whole.segments[name]
        return SegmentView(
            id=name,
            name=segment.name,
            status=_status(view, name, is_known=False),
            members=0,
            predictions=predictions_below(view, name),
            entry=segment.entry,
        )
    assert reader is not None, "a state was read with it"
    definitions = state.definitions
    return SegmentView(
        id=name,
        name=definitions.segment_names[definitions.segment_ids.index(name)],
        status=_status(view, name, is_known=True),
        members=reader.member_count(name),
        predictions=list(predictions_of_segment(state.catalog, name)),
        entry=state.catalog.segments[name].entry if name in state.catalog.segments else "now",
    )


def _status(view: DefinitionsView, name: str, *, is_known: bool) -> SegmentStatus:
    """`is_known`: shards work with it. One of a prediction's categories is archived with the prediction."""
    segment = view.whole.segments.get(name)
    if segment is not None and segment.archived:
        return "paused" if segment.paused else "archived"
    prediction = view.whole.predictions.get(name.rpartition(".")[0])
    if segment is None and prediction is not None and prediction.archived:
        return "archived"
    return "active" if is_known else "new"


def _page(reader: RedisReader, segment: str, place: ScanPlace, limit: int) -> tuple[list[str], ScanPlace | None]:
    """About `limit` members. Raises `Problem` for a cursor of another server."""
    users: dict[str, None] = {}
    behind: ScanPlace | None = place
    while behind is not None and len(users) < limit:
        try:
            found, behind = reader.members_page(segment, behind, limit - len(users))
        except StaleScan as error:
            raise invalid_cursor() from error
        users |= dict.fromkeys(found)
    return list(users), behind


# --- files -----------------------------------------------------------------------------------------------------------

_Lines = Callable[[Iterator[Member], Sequence[str]], Iterator[bytes]]


def _json_lines(members: Iterator[Member], _predictions: Sequence[str]) -> Iterator[bytes]:
    chunk: list[str] = []
    for member in members:
        chunk.append(member_view(member).model_dump_json() + "\n")
        if len(chunk) >= _CHUNK:
            yield "".join(chunk).encode()
            chunk = []
    yield "".join(chunk).encode()


def _csv_lines(members: Iterator[Member], predictions: Sequence[str]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # By itself the module puts no quotes around a carriage return, which readers take for the end of a line.
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    per_prediction = [f"{p}_{part}" for p in predictions for part in ("score", "likelihood", "category")]
    writer.writerow(["user_id", "since", "entry_count", *per_prediction])
    for number, member in enumerate(members, 1):
        scores = [member.scores.get(p) for p in predictions]
        cells = [c for s in scores for c in ((None,) * 3 if s is None else (s.score, s.likelihood, s.category))]
        row = quoting if "\r" in member.user else writer
        row.writerow([harmless(member.user), time_text(member.since_s), member.entry_count, *cells])
        if number % _CHUNK == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


_LINES: Final[dict[str, _Lines]] = {"ndjson": _json_lines, "csv": _csv_lines}
