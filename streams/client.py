"""A small client of the API (docs/api.md), with Python's own library and nothing else; the file may be copied.

    client = Client("http://127.0.0.1:8080", "tl_admin_...")
    client.track("ann", "Order Completed", {"revenue": 12.5})
    for member in client.members("orders_7d.high"):
        print(member["user_id"])
    for event in client.stream(segment=["orders_7d.high"]):
        print(event.id, event.data)

Answers are JSON as `/openapi.json` describes it. A client is for one thread.

* ``ApiError``: the API has refused; it holds the problem
    - ``NotAnApi``: what answers there is no API of Tideline
* ``ConnectionError``: nobody answers, also after `attempts`
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

OPERATIONS: Final[dict[str, tuple[str, str]]] = {
    "track": ("POST", "/v1/track"),
    "identify": ("POST", "/v1/identify"),
    "batch": ("POST", "/v1/batch"),
    "listPredictions": ("GET", "/v1/predictions"),
    "getPrediction": ("GET", "/v1/predictions/{prediction_id}"),
    "getDistribution": ("GET", "/v1/predictions/{prediction_id}/distribution"),
    "estimateRange": ("GET", "/v1/predictions/{prediction_id}/estimate"),
    "estimateFilter": ("POST", "/v1/predictions/{prediction_id}/estimate"),
    "getQuality": ("GET", "/v1/predictions/{prediction_id}/quality"),
    "getDrivers": ("GET", "/v1/predictions/{prediction_id}/drivers"),
    "listDeadLetters": ("GET", "/v1/dead-letters"),
    "getDeadLetter": ("GET", "/v1/dead-letters/{letter_id}"),
    "redriveDeadLetter": ("POST", "/v1/dead-letters/{letter_id}/redrive"),
    "listSegments": ("GET", "/v1/segments"),
    "getSegment": ("GET", "/v1/segments/{segment_id}"),
    "getSizes": ("GET", "/v1/segments/{segment_id}/sizes"),
    "listMembers": ("GET", "/v1/segments/{segment_id}/members"),
    "exportMembers": ("GET", "/v1/segments/{segment_id}/export"),
    "findUsers": ("GET", "/v1/users"),
    "getUser": ("GET", "/v1/users/{user_id}"),
    "deleteUser": ("DELETE", "/v1/users/{user_id}"),
    "getDeletion": ("GET", "/v1/deletions/{user_id}"),
    "listTransitions": ("GET", "/v1/transitions"),
    "listLikelihoods": ("GET", "/v1/likelihoods"),
    "stream": ("GET", "/v1/stream"),
    "estimateNewPrediction": ("POST", "/v1/predictions/estimate"),
    "createPrediction": ("POST", "/v1/predictions"),
    "createSegment": ("POST", "/v1/segments"),
    "getPredictionDefinition": ("GET", "/v1/predictions/{prediction_id}/definition"),
    "getSegmentDefinition": ("GET", "/v1/segments/{segment_id}/definition"),
    "editPrediction": ("PUT", "/v1/predictions/{prediction_id}"),
    "editSegment": ("PUT", "/v1/segments/{segment_id}"),
    "archivePrediction": ("POST", "/v1/predictions/{prediction_id}/archive"),
    "archiveSegment": ("POST", "/v1/segments/{segment_id}/archive"),
    "restorePrediction": ("POST", "/v1/predictions/{prediction_id}/restore"),
    "restoreSegment": ("POST", "/v1/segments/{segment_id}/restore"),
    "accessPrediction": ("POST", "/v1/predictions/{prediction_id}/access"),
    "listDefinitions": ("GET", "/v1/definitions"),
    "listChanges": ("GET", "/v1/definitions/history"),
    "exportDefinitions": ("GET", "/v1/definitions/export"),
    "planDefinitions": ("POST", "/v1/definitions/plan"),
    "applyDefinitions": ("PUT", "/v1/definitions"),
    "listCampaigns": ("GET", "/v1/campaigns"),
    "getCampaign": ("GET", "/v1/campaigns/{campaign_id}"),
    "listCampaignChanges": ("GET", "/v1/campaigns/{campaign_id}/history"),
    "createCampaign": ("POST", "/v1/campaigns"),
    "editCampaign": ("PUT", "/v1/campaigns/{campaign_id}"),
    "archiveCampaign": ("DELETE", "/v1/campaigns/{campaign_id}"),
    "forgetCampaign": ("POST", "/v1/campaigns/{campaign_id}/forget"),
    "pauseCampaign": ("POST", "/v1/campaigns/{campaign_id}/pause"),
    "resumeCampaign": ("POST", "/v1/campaigns/{campaign_id}/resume"),
    "dryRunCampaign": ("POST", "/v1/campaigns/{campaign_id}/dry-run"),
    "duplicateCampaign": ("POST", "/v1/campaigns/{campaign_id}/duplicate"),
    "listJourneys": ("GET", "/v1/journeys"),
    "getJourney": ("GET", "/v1/journeys/{journey_id}"),
    "listJourneyChanges": ("GET", "/v1/journeys/{journey_id}/history"),
    "createJourney": ("POST", "/v1/journeys"),
    "editJourney": ("PUT", "/v1/journeys/{journey_id}"),
    "archiveJourney": ("DELETE", "/v1/journeys/{journey_id}"),
    "forgetJourney": ("POST", "/v1/journeys/{journey_id}/forget"),
    "pauseJourney": ("POST", "/v1/journeys/{journey_id}/pause"),
    "resumeJourney": ("POST", "/v1/journeys/{journey_id}/resume"),
    "dryRunJourney": ("POST", "/v1/journeys/{journey_id}/dry-run"),
    "duplicateJourney": ("POST", "/v1/journeys/{journey_id}/duplicate"),
    "listTemplates": ("GET", "/v1/templates"),
    "fillTemplate": ("POST", "/v1/templates/{template_name}"),
    "getMessaging": ("GET", "/v1/messaging"),
    "editMessaging": ("PUT", "/v1/messaging"),
    "previewCampaign": ("POST", "/v1/campaigns/preview"),
    "previewMessage": ("POST", "/v1/campaigns/preview-message"),
    "getCampaignFigures": ("GET", "/v1/campaigns/{campaign_id}/figures"),
    "getJourneyFigures": ("GET", "/v1/journeys/{journey_id}/figures"),
    "listWebhooks": ("GET", "/v1/webhooks"),
    "getWebhook": ("GET", "/v1/webhooks/{webhook_id}"),
    "createWebhook": ("POST", "/v1/webhooks"),
    "archiveWebhook": ("DELETE", "/v1/webhooks/{webhook_id}"),
    "renewSecret": ("POST", "/v1/webhooks/{webhook_id}/secret"),
    "testWebhook": ("POST", "/v1/webhooks/{webhook_id}/test"),
    "listDeliveries": ("GET", "/v1/webhooks/{webhook_id}/deliveries"),
    "redrive": ("POST", "/v1/webhooks/{webhook_id}/redrive"),
    "listAudiences": ("GET", "/v1/audiences"),
    "getAudience": ("GET", "/v1/audiences/{audience_id}"),
    "createAudience": ("POST", "/v1/audiences"),
    "archiveAudience": ("DELETE", "/v1/audiences/{audience_id}"),
    "listChannels": ("GET", "/v1/campaign-channels"),
    "getChannel": ("GET", "/v1/campaign-channels/{channel_id}"),
    "setChannel": ("PUT", "/v1/campaign-channels/{channel_id}"),
    "renewChannelSecret": ("POST", "/v1/campaign-channels/{channel_id}/secret"),
    "unsetChannel": ("DELETE", "/v1/campaign-channels/{channel_id}"),
    "listFailures": ("GET", "/v1/campaign-channels/{channel_id}/failures"),
    "redriveChannel": ("POST", "/v1/campaign-channels/{channel_id}/redrive"),
    "testCampaign": ("POST", "/v1/campaigns/{campaign_id}/test-send"),
    "testJourney": ("POST", "/v1/journeys/{journey_id}/test-send"),
    "listAlerts": ("GET", "/v1/campaign-alerts"),
    "compareAudience": ("POST", "/v1/audiences/{audience_id}/compare"),
}
"""What this client can ask, by the names that the document gives; a test compares the two."""

Kind = Literal["prediction", "segment"]
"""What can be defined."""
CampaignKind = Literal["campaign", "journey"]
Standing = Literal["pause", "resume", "dryRun"]
"""What becomes of a campaign or journey, whatever its definition."""

_RETRIED: Final = (408, 429, 500, 502, 503, 504)
_LONGEST_PAUSE_S: Final = 30.0
_REUSED_S: Final = 2.0
"""A connection that was idle for longer may be closed by the service (after 5 s), or by what is between."""
_STREAM_SILENT_S: Final = 60.0
"""Heartbeats come every 15 seconds."""


class ApiError(Exception):
    """The API has refused. `problem` is its answer (RFC 9457), as far as it was one."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {problem.get('detail') or problem.get('title') or 'no reason was given'}")
        self.status = status
        self.problem = dict(problem)
        self.retry_after_s = retry_after_s

    @property
    def kind(self) -> str:
        """The end of its type: `not-found`."""
        return str(self.problem.get("type", "")).rpartition(":")[2]


class NotAnApi(ApiError):
    """Something else answers there."""

    def __init__(self, status: int, answered: str, retry_after_s: float | None = None) -> None:
        super().__init__(status, {"detail": f"it answered {answered} and is no API of Tideline"}, retry_after_s)


class Answer(NamedTuple):
    """What was answered, as it came."""

    status: int
    etag: str
    """Empty where there is none."""
    text: str

    @property
    def data(self) -> Any:
        """As JSON. Raises NotAnApi for anything else."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise NotAnApi(self.status, "what is no JSON") from error


class Defined(NamedTuple):
    """A definition and where it stands, or several, and the ETag that a change of it needs."""

    data: Any
    etag: str


class StreamEvent(NamedTuple):
    """One event of the stream."""

    id: str
    """To go on behind it."""
    name: str
    """`transition`, `missed`, `dropped` or `closing`."""
    data: Any


class Client:
    """Asks one service with one key. Events are sent up to `attempts` times, under one message id: they count once."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 30.0,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected an address such as https://tideline.example.org, not {url!r}")
        self.url = url.rstrip("/")
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._open = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": "tideline-client"}
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self._used_s = 0.0

    def close(self) -> None:
        """Cut the connection; the next question makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Client:  # noqa: PYI034  Self would need typing_extensions where this file is copied to
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- events ------------------------------------------------------------------------------------------------------

    def track(
        self, user_id: str, event: str, properties: Mapping[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """One thing that a user did. `more`: `timestamp`, `messageId`, `context`, as in Segment's spec."""
        call = {"userId": user_id, "event": event, "properties": dict(properties or {})} | more
        return self._send("track", _complete(call))

    def identify(self, user_id: str, traits: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """What is known of a user."""
        return self._send("identify", _complete({"userId": user_id, "traits": dict(traits or {})} | more))

    def batch(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Many calls at once, each with its `type`."""
        return self._send("batch", {"batch": [_complete(call) for call in calls]})

    def _send(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._again(operation, body=body).data)

    def _again(
        self,
        operation: str,
        path: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Until it is taken; only what the service may take later is repeated."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self.ask(operation, path, body=body, headers=headers)
            except ApiError as error:
                if error.status not in _RETRIED or error.kind == "log-refuses" or attempt == self._attempts:
                    raise
                pause_s = error.retry_after_s
            except ConnectionError:
                if attempt == self._attempts:
                    raise
                pause_s = None
            self._sleep(min(_LONGEST_PAUSE_S, 0.2 * 2.0**attempt if pause_s is None else pause_s))
        raise AssertionError("the last attempt returns or raises")

    # --- what is stored ----------------------------------------------------------------------------------------------

    def predictions(self) -> list[dict[str, Any]]:
        """All predictions."""
        return list(self.call("listPredictions")["items"])

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        """One of them."""
        return dict(self.call("getPrediction", {"prediction_id": prediction_id}))

    def distribution(self, prediction_id: str) -> dict[str, Any]:
        """Users, mean likelihood and actual rate by score, category and likelihood."""
        return dict(self.call("getDistribution", {"prediction_id": prediction_id}))

    def quality(self, prediction_id: str, *, weeks: int | None = None) -> dict[str, Any]:
        """How good it has been, over time."""
        return dict(self.call("getQuality", {"prediction_id": prediction_id}, {"weeks": weeks}))

    def drivers(self, prediction_id: str, *, limit: int | None = None) -> dict[str, Any]:
        """What raises and lowers the likelihood."""
        return dict(self.call("getDrivers", {"prediction_id": prediction_id}, {"limit": limit}))

    def estimate(
        self,
        prediction_id: str,
        *,
        score_min: float | None = None,
        score_max: float | None = None,
        category: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  as it is called in a definition
    ) -> dict[str, Any]:
        """How many users a range, a category or a filter selects, and how many of them are expected to do it."""
        path = {"prediction_id": prediction_id}
        if filter is not None:
            return dict(self.call("estimateFilter", path, body={"filter": dict(filter)}))
        return dict(self.call("estimateRange", path, {"min": score_min, "max": score_max, "category": category}))

    def estimate_new(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """What a prediction would have to learn from, before it is made; `definition` without an id."""
        return dict(self.call("estimateNewPrediction", body=definition))

    def find_users(self, beginning: str, *, limit: int | None = None) -> list[str]:
        """Ids of users that are or begin so."""
        found = self.call("findUsers", query={"id": beginning, "limit": limit})
        return [user["user_id"] for user in found["items"]]

    def transitions(self, user_id: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The latest transitions of a user, the latest first."""
        return list(self.call("listTransitions", query={"user": user_id, "limit": limit})["items"])

    def likelihoods(self, user_id: str, prediction_id: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """What was said of a user over the latest windows, oldest first."""
        query = {"user": user_id, "prediction": prediction_id, "limit": limit}
        return list(self.call("listLikelihoods", query=query)["items"])

    def user(self, user_id: str) -> dict[str, Any]:
        """Scores, segments and everything else that is stored of a user."""
        return dict(self.call("getUser", {"user_id": user_id}))

    def delete_user(self, user_id: str) -> dict[str, Any]:
        """Delete a user for good; `deletion` tells when it is done."""
        return dict(self._change("deleteUser", {"user_id": user_id}, None).data)

    def deletion(self, user_id: str, asked_at: str | None = None) -> dict[str, Any]:
        """When the user was deleted; with the `asked_at` of a request, once that one is done.

        Raises ApiError (404) where that is not known.
        """
        query = {} if asked_at is None else {"asked_at": asked_at}
        return dict(self.call("getDeletion", {"user_id": user_id}, query))

    def segments(self) -> list[dict[str, Any]]:
        """All segments, with their sizes."""
        return list(self.call("listSegments")["items"])

    def segment(self, segment_id: str) -> dict[str, Any]:
        """One of them."""
        return dict(self.call("getSegment", {"segment_id": segment_id}))

    def sizes(self, segment_id: str) -> dict[str, Any]:
        """How large it is, and was at the end of each of the last days."""
        return dict(self.call("getSizes", {"segment_id": segment_id}))

    def members(self, segment_id: str, *, limit: int = 500) -> Iterator[dict[str, Any]]:
        """All members, `limit` or so at a time; one that comes in two pages is given twice."""
        cursor: str | None = None
        while True:
            page = self.call("listMembers", {"segment_id": segment_id}, {"limit": limit, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def export(self, segment_id: str) -> Iterator[dict[str, Any]]:
        """All members in one answer, however many there are."""
        for line in self._lines("exportMembers", {"segment_id": segment_id}, {"format": "ndjson"}, {}):
            if line.strip():
                yield json.loads(line)

    # --- definitions -------------------------------------------------------------------------------------------------

    def definitions(self) -> list[dict[str, Any]]:
        """All of them, shortly, with their ETags."""
        return list(self.call("listDefinitions")["items"])

    def definition(self, kind: Kind, id_: str) -> Defined:
        """How one is defined and by whom, where it stands, and what rests on it."""
        answer = self.ask(f"get{kind.title()}Definition", _path(kind, id_))
        return Defined(answer.data, answer.etag)

    def create(self, kind: Kind, definition: Mapping[str, Any]) -> Defined:
        """A new one, with its `id`; written as in a catalog. It is asked until it is answered, and made once."""
        return self._change(f"create{kind.title()}", None, dict(definition))

    def edit(self, kind: Kind, id_: str, definition: Mapping[str, Any], etag: str) -> Defined:
        """Another definition in its place. `etag`: as it was read; where somebody was first it is refused (412).

        It is asked once: after a ConnectionError it may have been done, or not.
        """
        answer = self.ask(f"edit{kind.title()}", _path(kind, id_), body=dict(definition), headers={"If-Match": etag})
        return Defined(answer.data, answer.etag)

    def archive(self, kind: Kind, id_: str, etag: str | None = None) -> Defined:
        """Archive it, with the segments made through the API that rest on it."""
        return self._change(f"archive{kind.title()}", _path(kind, id_), None, etag)

    def restore(self, kind: Kind, id_: str, etag: str | None = None) -> Defined:
        """Undo that."""
        return self._change(f"restore{kind.title()}", _path(kind, id_), None, etag)

    def set_access(self, prediction_id: str, access: str, etag: str | None = None) -> Defined:
        """`live`, `preview` or `demo`."""
        return self._change("accessPrediction", _path("prediction", prediction_id), {"access": access}, etag)

    def changes(
        self, kind: Kind | None = None, id_: str | None = None, *, limit: int = 100
    ) -> Iterator[dict[str, Any]]:
        """Who changed what and when, the latest first."""
        cursor: str | None = None
        while True:
            page = self.call("listChanges", query={"kind": kind, "id": id_, "limit": limit, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def export_definitions(self) -> str:
        """The whole catalog with all definitions, as YAML."""
        return self.ask("exportDefinitions").text

    def plan(self, predictions: Mapping[str, Any], segments: Mapping[str, Any], **campaigns: Any) -> Defined:
        """What it takes to get to a whole set of definitions, and the ETag with which to `apply` it.

        `campaigns`: `messaging`, `campaigns`, `journeys`; without them those stay as they are.
        """
        answer = self.ask("planDefinitions", body={"predictions": predictions, "segments": segments} | campaigns)
        return Defined(answer.data, answer.etag)

    def apply(
        self, predictions: Mapping[str, Any], segments: Mapping[str, Any], etag: str, **campaigns: Any
    ) -> Defined:
        """Do that, in one step; campaigns in one behind it."""
        body = {"predictions": predictions, "segments": segments} | campaigns
        answer = self.ask("applyDefinitions", body=body, headers={"If-Match": etag})
        return Defined(answer.data, answer.etag)

    # --- campaigns and journeys --------------------------------------------------------------------------------------

    def campaigns(
        self, kind: CampaignKind = "campaign", *, status: str | None = None, limit: int = 100
    ) -> Iterator[dict[str, Any]]:
        """All of a kind, archived ones among them, in the order in which they were made; or those with a status."""
        cursor: str | None = None
        while True:
            page = self.call(f"list{kind.title()}s", query={"status": status, "limit": limit, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def campaign(self, kind: CampaignKind, id_: str) -> Defined:
        """How one is defined, and how it stands."""
        answer = self.ask(f"get{kind.title()}", _path(kind, id_))
        return Defined(answer.data, answer.etag)

    def create_campaign(self, kind: CampaignKind, definition: Mapping[str, Any]) -> Defined:
        """A new one, with its `id`; written as in a catalog. It is asked until it is answered, and made once."""
        return self._change(f"create{kind.title()}", None, dict(definition))

    def edit_campaign(self, kind: CampaignKind, id_: str, definition: Mapping[str, Any], etag: str) -> Defined:
        """Another version of it; see `edit`."""
        answer = self.ask(f"edit{kind.title()}", _path(kind, id_), body=dict(definition), headers={"If-Match": etag})
        return Defined(answer.data, answer.etag)

    def stand_campaign(self, kind: CampaignKind, id_: str, how: Standing, etag: str | None = None) -> Defined:
        """Pause it, put it on (again), or on a dry run."""
        return self._change(f"{how}{kind.title()}", _path(kind, id_), None, etag)

    def archive_campaign(self, kind: CampaignKind, id_: str, etag: str | None = None) -> Defined:
        """Archive it for good."""
        return self._change(f"archive{kind.title()}", _path(kind, id_), None, etag)

    def forget_campaign(self, kind: CampaignKind, id_: str, etag: str | None = None) -> Defined:
        """Let go of an archived one with its figures; as it was last."""
        return self._change(f"forget{kind.title()}", _path(kind, id_), None, etag)

    def duplicate_campaign(self, kind: CampaignKind, id_: str, new_id: str, name: str | None = None) -> Defined:
        """The same under another id, paused."""
        body = {"id": new_id} | ({} if name is None else {"name": name})
        return self._change(f"duplicate{kind.title()}", _path(kind, id_), body)

    def campaign_changes(self, kind: CampaignKind, id_: str, *, limit: int = 100) -> Iterator[dict[str, Any]]:
        """Who did what to it and when, the latest first."""
        cursor: str | None = None
        while True:
            page = self.call(f"list{kind.title()}Changes", _path(kind, id_), {"limit": limit, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def templates(self) -> list[dict[str, Any]]:
        """Ready-made campaigns and journeys."""
        return list(self.call("listTemplates")["items"])

    def fill_template(self, name: str, prediction_id: str, channels: Sequence[str], **more: Any) -> dict[str, Any]:
        """One of them for a prediction; nothing is stored. `more`: `category`, or `min` and `max`; `language`,
        `order_value`, `recommender`, `id`.
        """
        body = {"prediction": prediction_id, "channels": list(channels)} | more
        return dict(self.call("fillTemplate", {"template_name": name}, body=body))

    def messaging(self) -> Defined:
        """What all campaigns and journeys share."""
        answer = self.ask("getMessaging")
        return Defined(answer.data, answer.etag)

    def edit_messaging(self, definition: Mapping[str, Any], etag: str) -> Defined:
        """Another one in its place; see `edit`."""
        answer = self.ask("editMessaging", body=dict(definition), headers={"If-Match": etag})
        return Defined(answer.data, answer.etag)

    def _change(self, operation: str, path: Mapping[str, str] | None, body: Any, etag: str | None = None) -> Defined:
        """Under one idempotency key, so that it is done once however often it is asked."""
        headers = {"Idempotency-Key": str(uuid.uuid4())} | ({} if etag is None else {"If-Match": etag})
        answer = self._again(operation, path, body, headers)
        return Defined(answer.data, answer.etag)

    # --- transitions -------------------------------------------------------------------------------------------------

    def stream(self, *, last_id: str | None = None, reconnect: bool = True, **wanted: Any) -> Iterator[StreamEvent]:
        """Transitions as they happen, for ever. `wanted`: `segment`, `prediction`, `user`, `direction`, `origin`, and
        `from_`, which is `now` or `start`.

        Goes on behind the last one by itself where the connection ends, unless `reconnect` is False.
        """
        query = {name.rstrip("_"): value for name, value in wanted.items()}
        failures = 0
        while True:
            headers = {} if last_id is None else {"Last-Event-ID": last_id}
            try:
                for event in _events(self._lines("stream", {}, query, headers, timeout_s=_STREAM_SILENT_S)):
                    failures, last_id = 0, event.id or last_id
                    if event.name:
                        yield event
                failures = 0
            except ApiError as error:
                if error.status not in _RETRIED or not reconnect:
                    raise
                failures += 1
            except (ConnectionError, http.client.HTTPException, TimeoutError):
                if not reconnect:
                    raise
                failures += 1
            if not reconnect:
                return
            self._sleep(min(_LONGEST_PAUSE_S, 0.5 * 2.0**failures))

    def webhooks(self) -> list[dict[str, Any]]:
        """All webhooks; `call` changes them."""
        return list(self.call("listWebhooks")["items"])

    def create_webhook(self, url: str, **more: Any) -> dict[str, Any]:
        """A new one, with its `secret`. `more`: `name`, `segments`, `direction`, `origins`, `secret`."""
        return dict(self._change("createWebhook", None, {"url": url} | more).data)

    def renew_secret(self, webhook_id: str) -> dict[str, Any]:
        """Another secret; for a day deliveries are signed with both."""
        return dict(self._change("renewSecret", {"webhook_id": webhook_id}, None).data)

    def create_audience(self, segment_id: str, form: Literal["webhook", "segment"], **more: Any) -> dict[str, Any]:
        """A list elsewhere that is kept equal to a segment. `more`: `url`, `write_key`, `name`."""
        return dict(self._change("createAudience", None, {"segment_id": segment_id, "form": form} | more).data)

    # --- how it is asked ---------------------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        """One operation of `OPERATIONS`, once: its answer, from JSON. Raises ApiError, ConnectionError."""
        return self.ask(operation, path, query, body).data

    def ask(
        self,
        operation: str,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The same with the answer as it came."""
        method, target = _target(self._path, operation, path or {}, query or {})
        given, data = self._headers | dict(headers or {}), None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            given["Content-Type"] = "application/json"
        if time.monotonic() - self._used_s > _REUSED_S:
            self.close()
        try:
            if self._connection is None:
                self._connection = self._open(self._host, self._port, timeout=self._timeout_s)
            self._connection.request(method, target, data, given)
            answer = self._connection.getresponse()
            text = answer.read()
            self._used_s = time.monotonic()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(f"no answer from {self.url}: {error!r}") from error
        if answer.status >= 300:
            raise _refusal(answer, text)
        try:
            return Answer(answer.status, answer.headers.get("ETag", ""), text.decode())
        except UnicodeDecodeError as error:
            raise NotAnApi(answer.status, "what is no text") from error

    def _lines(
        self,
        operation: str,
        path: Mapping[str, str],
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        timeout_s: float | None = None,
    ) -> Iterator[bytes]:
        """The lines of a long answer, on a connection of its own."""
        method, target = _target(self._path, operation, path, query)
        connection = self._open(self._host, self._port, timeout=timeout_s or self._timeout_s)
        try:
            try:
                connection.request(method, target, headers=self._headers | dict(headers))
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise ConnectionError(f"no answer from {self.url}: {error!r}") from error
            if answer.status >= 300:
                raise _refusal(answer, answer.read())
            while line := answer.readline():
                yield line
        finally:
            connection.close()


def _target(base: str, operation: str, path: Mapping[str, str], query: Mapping[str, Any]) -> tuple[str, str]:
    method, template = OPERATIONS[operation]
    filled = template.format(**{name: quote(value, safe="") for name, value in path.items()})
    wanted = {name: value for name, value in query.items() if value is not None}
    return method, base + filled + (f"?{urlencode(wanted, doseq=True)}" if wanted else "")


def _path(kind: Kind | CampaignKind, id_: str) -> dict[str, str]:
    return {f"{kind}_id": id_}


def _complete(call: Mapping[str, Any]) -> dict[str, Any]:
    """With a message id, so that it counts once however often it is sent, and the time of now if it has none."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"messageId": str(uuid.uuid4()), "timestamp": now} | dict(call)


def _refusal(answer: http.client.HTTPResponse, text: bytes) -> ApiError:
    if answer.status < 400:
        where = answer.headers.get("Location", "somewhere else")[:200]
        return ApiError(answer.status, {"detail": f"it leads to {where}, and the key is not sent there"})
    after = answer.headers.get("Retry-After", "")
    after_s = float(after) if after.isdigit() else None
    try:
        problem = json.loads(text)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "type" not in problem:
        return NotAnApi(answer.status, str(answer.status), after_s)
    return ApiError(answer.status, problem, after_s)


def _events(lines: Iterable[bytes]) -> Iterator[StreamEvent]:
    """Server-sent events; one without a name only moves the place."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        if name:
            fields[name] = value
        elif not line.strip() and fields:
            yield StreamEvent(
                fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]) if "data" in fields else None
            )
            fields = {}
