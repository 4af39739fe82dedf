"""What all campaigns and journeys share, over HTTP: channels, caps, quiet hours, the holdout."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from config.written import written
from streams.api import campaign_edits as edits
from streams.api.auth import Authenticator, access
from streams.api.campaign_definer import CampaignDefiner, CampaignWork
from streams.api.campaign_document import MESSAGING
from streams.api.campaign_edits import By
from streams.api.campaign_models import MessagingView
from streams.api.campaigns_view import CampaignsView
from streams.api.changing import Told, response
from streams.api.definition_document import body as body_of
from streams.api.definition_requests import IfMatch, ask_of, check_match, read_json
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.services import ApiOptions
from streams.api.views import time_text

_ETAG = {"ETag": {"description": "For `If-Match`.", "schema": {"type": "string"}}}


def add_messaging(app: FastAPI, definer: CampaignDefiner, authenticator: Authenticator, options: ApiOptions) -> None:
    """Add both routes."""

    @app.get(
        "/v1/messaging",
        tags=["campaigns"],
        operation_id="getMessaging",
        summary="What all campaigns and journeys share",
        response_model=MessagingView,
        responses={200: {"headers": _ETAG}, **problems()},
        **access(authenticator, Role.READ),
    )
    def one() -> Response:
        return response(_told(definer.view()))

    given: dict[str, Any] = access(authenticator, Role.WRITE)
    given["openapi_extra"] |= body_of(MESSAGING)

    @app.put(
        "/v1/messaging",
        tags=["campaigns"],
        operation_id="editMessaging",
        summary="Change what all campaigns and journeys share",
        response_model=MessagingView,
        responses={200: {"headers": _ETAG}, **problems(400, 408, 409, 412, 413, 415, 422, 428)},
        **given,
    )
    async def edit(request: Request, if_match: IfMatch = None) -> Response:
        body, data = await read_json(request, options)

        def work(view: CampaignsView, by: By) -> CampaignWork:
            check_match(if_match, _etag(view), is_needed=True)
            return CampaignWork(edits.messaging_edited(view, by, data), _told)

        ask = ask_of(request, body, None)
        return await definer.definer.run(lambda: definer.change(ask, work))


def _etag(view: CampaignsView) -> str:
    return f'"{0 if view.kept.common is None else view.kept.common.changed}"'


def _told(view: CampaignsView) -> Told:
    common = view.kept.common
    found = MessagingView(
        source=None if common is None else common.source,
        changed_at=None if common is None else time_text(common.changed_s),
        definition=written(view.messaging),
    )
    return Told(200, found.model_dump_json(), {"ETag": _etag(view)})
