"""Campaigns and journeys over HTTP: made, changed, paused, and who did what. Both kinds have the same routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

from fastapi import FastAPI, Path, Query, Request
from starlette.responses import Response

from config.campaign_references import campaign_references
from config.campaigns import Campaign
from config.journeys import Journey
from config.times import OnceTrigger, RecurringTrigger
from config.written import written
from streams.adapters.campaign_definitions import CAMPAIGN_KINDS, Action, CampaignKind, Change, KeptCampaign, Step
from streams.adapters.documents import Place
from streams.api import campaign_document as document
from streams.api import campaign_edits as edits
from streams.api.auth import Authenticator, access
from streams.api.campaign_definer import CampaignDefiner, CampaignWork
from streams.api.campaign_edits import By, Find
from streams.api.campaign_models import (
    CampaignChange,
    CampaignHistory,
    CampaignPage,
    CampaignProblem,
    CampaignSummary,
    CampaignView,
    Status,
)
from streams.api.campaigns_view import RUNNING, CampaignsView, etag
from streams.api.changing import Told, response
from streams.api.definition_document import body as body_of
from streams.api.definition_requests import IdempotencyKey, IfMatch, ask_of, check_match, read_json
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.pages import place_cursor, place_of
from streams.api.services import ApiOptions
from streams.api.views import time_text
from streams.campaigns.figures import BookReader
from streams.campaigns.schedule import next_time

_PAGE: Final = 50
"""Changes that are read at once: each may have two definitions of the largest size."""
MAX_HISTORY_LOOKED: Final = 1_000
"""Changes that are looked at for a page: where few are of what is asked for it ends, too, and may be empty."""
_ETAG = {"ETag": {"description": "Of the campaign or journey; for `If-Match`.", "schema": {"type": "string"}}}
_SWITCHES: Final[tuple[tuple[str, str, Action, str], ...]] = (
    ("pause", "pause", "pause", "Pause a {}: nothing begins, and what waits is held"),
    ("resume", "resume", "resume", "Put a {} on (again)"),
    ("dry-run", "dryRun", "dry", "Put a {} on a dry run: everything is decided and counted, and nothing is sent"),
)
_EDIT_STATUSES: Final = (400, 404, 408, 409, 412, 413, 415, 422)

Limit = Annotated[int, Query(ge=1, le=1_000, description="At most so many.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=200)]
OfStatus = Annotated[Status | None, Query(alias="status", description="Only those with this status.")]


class _Common(NamedTuple):
    """What the routes of both kinds have."""

    app: FastAPI
    definer: CampaignDefiner
    authenticator: Authenticator
    options: ApiOptions
    books: BookReader


def add_campaigns(
    app: FastAPI, definer: CampaignDefiner, authenticator: Authenticator, options: ApiOptions, books: BookReader
) -> None:
    """Add the routes of campaigns and of journeys."""
    for kind in CAMPAIGN_KINDS:
        _OneKind(_Common(app, definer, authenticator, options, books), kind).add()


class _OneKind:
    """The routes of one of the two."""

    def __init__(self, common: _Common, kind: CampaignKind) -> None:
        self._app, self._definer, self._authenticator, self._options, self._books = common
        self._kind = kind
        self._id = Path(alias=f"{kind}_id", description="As in a catalog.")
        self._path = f"/v1/{kind}s/{{{kind}_id}}"

    def add(self) -> None:
        """Add all of them."""
        self._add_reading()
        self._add_history()
        self._add_creation()
        self._add_edit()
        self._add_archiving()
        self._add_forgetting()
        for name, operation, action, words in _SWITCHES:
            self._add_switch(name, operation, action, words)
        self._add_duplicate()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _add_reading(self) -> None:
        id_of_path, kind = self._id, self._kind

        def all_(status: OfStatus = None, limit: Limit = 100, cursor: Cursor = None) -> CampaignPage:
            view, now_s = self._definer.view(), self._definer.now_s()
            behind = (-1, -1) if cursor is None else place_of(f"{kind}s", cursor)
            there = [each for each in view.of(kind) if each.head.made > behind]
            shown = [each for each in there if status in (None, status_of(view, each, now_s))]
            page = shown[:limit]
            more = place_cursor(f"{kind}s", page[-1].head.made) if len(shown) > limit else None
            return CampaignPage(items=[summary(view, each, now_s) for each in page], next_cursor=more)

        def one(id_: str = id_of_path) -> Response:
            return response(self._told(self._definer.view(), id_, 200))

        words = "All {}s, archived ones among them"
        self._route("GET", f"/v1/{kind}s", all_, "list{}s", words, (404, 422), CampaignPage)
        self._route("GET", self._path, one, "get{}", "One {}", (404, 422), CampaignView)

    def _add_history(self) -> None:
        id_of_path = self._id

        def history(id_: str = id_of_path, limit: Limit = 100, cursor: Cursor = None) -> CampaignHistory:
            self._definer.view().get(self._kind, id_)
            before = None if cursor is None else place_of("campaign-history", cursor)
            shown: list[tuple[Place, Change]] = []
            looked = 0
            while looked < MAX_HISTORY_LOOKED and (page := self._definer.store.history(before, _PAGE)):
                for before, change in page:
                    looked += 1
                    if (change.kind, change.id) == (self._kind, id_):
                        shown.append((before, change))
                        if len(shown) == limit:
                            return _history(shown, before)
            return _history(shown, before if looked >= MAX_HISTORY_LOOKED else None)

        words = "Who did what to a {} and when, the latest first"
        self._route("GET", f"{self._path}/history", history, "list{}Changes", words, (404, 422), CampaignHistory)

    # --- changing ----------------------------------------------------------------------------------------------------

    def _add_creation(self) -> None:
        kind = self._kind

        async def create(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
            body, data = await read_json(request, self._options)

            def work(view: CampaignsView, by: By) -> CampaignWork:
                return self._made(edits.created(view, by, kind, data))

            return await self._changed(request, body, idempotency_key, work)

        statuses = (400, 408, 409, 413, 415, 422)
        schema = document.body_schema(kind, is_new=True)
        self._route("POST", f"/v1/{kind}s", create, "create{}", "Make a {}", statuses, CampaignView, schema)

    def _add_duplicate(self) -> None:
        id_of_path, kind = self._id, self._kind

        async def duplicate(
            request: Request, id_: str = id_of_path, idempotency_key: IdempotencyKey = None
        ) -> Response:
            body, data = await read_json(request, self._options)

            def work(view: CampaignsView, by: By) -> CampaignWork:
                return self._made(edits.duplicated(view, by, kind, id_, data))

            return await self._changed(request, body, idempotency_key, work)

        statuses = (400, 404, 408, 409, 413, 415, 422)
        words, path = "Make the same {} under another id, paused", f"{self._path}/duplicate"
        self._route("POST", path, duplicate, "duplicate{}", words, statuses, CampaignView, document.DUPLICATE)

    def _add_edit(self) -> None:
        id_of_path, kind = self._id, self._kind

        async def edit(request: Request, id_: str = id_of_path, if_match: IfMatch = None) -> Response:
            body, data = await read_json(request, self._options)
            work = self._work(id_, if_match, lambda view, by: edits.edited(view, by, kind, id_, data), is_needed=True)
            return await self._changed(request, body, None, work)

        schema = document.body_schema(kind, is_new=False)
        words = "Change a {}: a new version, and users stay on theirs"
        self._route("PUT", self._path, edit, "edit{}", words, (*_EDIT_STATUSES, 428), CampaignView, schema)

    def _add_archiving(self) -> None:
        id_of_path, kind = self._id, self._kind

        async def archive(request: Request, id_: str = id_of_path, if_match: IfMatch = None) -> Response:
            work = self._work(id_, if_match, lambda view, by: edits.archived(view, by, kind, id_))
            return await self._changed(request, b"", None, work)

        words = "Archive a {} for good: whoever is in it leaves"
        self._route("DELETE", self._path, archive, "archive{}", words, (404, 409, 412, 422), CampaignView)

    def _add_forgetting(self) -> None:
        id_of_path, kind = self._id, self._kind

        async def forget(
            request: Request,
            id_: str = id_of_path,
            if_match: IfMatch = None,
            idempotency_key: IdempotencyKey = None,
        ) -> Response:
            def work(view: CampaignsView, by: By) -> CampaignWork:
                check_match(if_match, etag(view.get(kind, id_)), is_needed=False)
                last = self._told(view, id_, 200)
                return CampaignWork(edits.forgotten(view, by, kind, id_, self._books.books_of), lambda _: last)

            return await self._changed(request, b"", idempotency_key, work)

        words = "Let go of an archived {} with its figures; nobody may be in it any more"
        self._route("POST", f"{self._path}/forget", forget, "forget{}", words, (404, 409, 412, 422), CampaignView)

    def _add_switch(self, name: str, operation: str, action: Action, words: str) -> None:
        id_of_path, kind = self._id, self._kind

        async def switch(
            request: Request,
            id_: str = id_of_path,
            if_match: IfMatch = None,
            idempotency_key: IdempotencyKey = None,
        ) -> Response:
            work = self._work(id_, if_match, lambda view, by: edits.stands(view, by, kind, id_, action))
            return await self._changed(request, b"", idempotency_key, work)

        path = f"{self._path}/{name}"
        self._route("POST", path, switch, f"{operation}{{}}", words, (404, 409, 412, 422), CampaignView)

    # --- parts -------------------------------------------------------------------------------------------------------

    def _work(
        self, id_: str, if_match: str | None, find: Find, *, is_needed: bool = False
    ) -> Callable[[CampaignsView, By], CampaignWork]:
        def work(view: CampaignsView, by: By) -> CampaignWork:
            check_match(if_match, etag(view.get(self._kind, id_)), is_needed=is_needed)
            return CampaignWork(find(view, by), lambda after: self._told(after, id_, 200))

        return work

    def _made(self, step: Step) -> CampaignWork:
        assert step.change is not None, "somebody makes it"
        id_ = step.change.id
        return CampaignWork([step], lambda after: self._told(after, id_, 201))

    async def _changed(
        self, request: Request, body: bytes, key: str | None, work: Callable[[CampaignsView, By], CampaignWork]
    ) -> Response:
        ask = ask_of(request, body, key)
        return await self._definer.definer.run(lambda: self._definer.change(ask, work))

    def _told(self, view: CampaignsView, id_: str, status: int) -> Told:
        found = view.get(self._kind, id_)
        headers = {"ETag": etag(found)}
        if status == 201:
            headers["Location"] = f"/v1/{self._kind}s/{id_}"
        return Told(status, campaign_view(view, found, self._definer.now_s()).model_dump_json(), headers)

    def _route(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        operation: str,
        words: str,
        statuses: tuple[int, ...],
        model: Any,
        schema: dict[str, Any] | None = None,
    ) -> None:
        given = access(self._authenticator, Role.READ if method == "GET" else Role.WRITE)
        if schema is not None:
            given["openapi_extra"] |= body_of(schema)
        good = 201 if operation.startswith(("create", "duplicate")) else 200
        headers: dict[int | str, dict[str, Any]] = {good: {"headers": _ETAG}} if model is CampaignView else {}
        self._app.add_api_route(
            path,
            endpoint,
            tags=[f"{self._kind}s"],
            methods=[method],
            operation_id=operation.format(self._kind.capitalize()),
            summary=words.format(self._kind),
            status_code=good,
            response_model=model,
            responses={**headers, **problems(*statuses)},
            **given,
        )


def status_of(view: CampaignsView, each: KeptCampaign, now_s: float) -> Status:
    """What it does now."""
    state = each.head.stands.state
    if state in RUNNING and each.head.id in view.troubles:
        return "paused"
    return view.plan.activity(each.head.id, now_s)


def summary(view: CampaignsView, each: KeptCampaign, now_s: float) -> CampaignSummary:
    """One of a list."""
    return CampaignSummary(**_summary(view, each, now_s))


def campaign_view(view: CampaignsView, each: KeptCampaign, now_s: float) -> CampaignView:
    """One as it is answered."""
    campaign = view.current(each.head.id)
    wrong = view.troubles.get(each.head.id, [])
    return CampaignView(
        **_summary(view, each, now_s),
        versions=list(each.versions),
        problems=[CampaignProblem(path=p.path, found=p.found, expected=p.expected) for p in wrong],
        next_at=_next_at(campaign, status_of(view, each, now_s), now_s),
        rests_on=[f"{kind}s.{id_}" for kind, id_ in campaign_references(campaign)],
        definition=written(campaign),
    )


def _next_at(campaign: Campaign | Journey, status: Status, now_s: float) -> str | None:
    if status not in ("on", "dry", "early") or not isinstance(campaign, Campaign):
        return None
    if not isinstance(campaign.trigger, OnceTrigger | RecurringTrigger):
        return None
    at_s = next_time(campaign.trigger, max(now_s, campaign.starts_s - 1.0))  # times are whole minutes
    return None if at_s is None or at_s >= campaign.ends_s else time_text(at_s)


def _summary(view: CampaignsView, each: KeptCampaign, now_s: float) -> dict[str, Any]:
    head, campaign = each.head, view.current(each.head.id)
    return {
        "kind": head.kind,
        "id": head.id,
        "name": campaign.name,
        "source": head.source,
        "state": head.stands.state,
        "status": status_of(view, each, now_s),
        "since": time_text(head.stands.since_s),
        "why": head.stands.why,
        "segment": campaign.segment,
        "channels": list(campaign.channels),
        "version": head.version,
        "created_at": time_text(head.stands.created_s),
        "changed_at": time_text(head.changed_s),
        "etag": etag(each),
    }


def _history(shown: list[tuple[Place, Change]], behind: Place | None) -> CampaignHistory:
    return CampaignHistory(
        items=[_item(*each) for each in shown],
        next_cursor=None if behind is None else place_cursor("campaign-history", behind),
    )


def _item(place: Place, change: Change) -> CampaignChange:
    return CampaignChange(
        revision=place[0],
        at=time_text(change.at_s),
        key_id=change.key_id,
        action=change.action,
        version=change.version,
        state=change.state,
        why=change.why,
        before=change.before,
        after=change.after,
    )
