"""What a prediction would have to learn from, before it is made: its audience, and its goal in kept events."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from config.base import MAX_WINDOW_S
from config.catalog import Catalog, Filter, Prediction
from config.durations import DAY_S, HOUR_S, format_duration
from config.errors import NoLog, NotKept
from models.learner import prediction_specs
from streams.adapters.event_history import EventHistory
from streams.api import definition_document as document
from streams.api.auth import Authenticator, access
from streams.api.definer import Definer
from streams.api.definition_body import UNNAMED, read_body
from streams.api.definition_requests import read_json
from streams.api.definitions_view import DefinitionsView, Edit, read
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.few_at_once import FewThreads
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.api.services import ApiOptions
from streams.api.stored import NothingYet, StoreReads
from streams.api.views import time_text
from streams.runtime.goal_scan import GoalScan, scan_goals
from streams.runtime.selecting import Selector

MAX_EVENTS: Final = 500_000
"""Of the log; reading so many takes some seconds."""
MAX_S: Final = 10.0
"""Spent on it."""
_WAITING: Final = 2
"""Who wait meanwhile for their own; each takes a thread that all other requests miss."""


class LogView(BaseModel):
    """What was looked through."""

    events: int = Field(description="Events that were read, the oldest that are kept first.")
    first: str | None = Field(description="Their earliest time,")
    last: str | None = Field(description="and their latest.")
    whole: bool = Field(description="Whether these are all that are kept; otherwise it ends at the limit.")
    limit: int = Field(description="So many are read at most.")
    users: int
    problem: str | None = Field(description="Why there is nothing to look through.")


class PartView(BaseModel):
    """One `did` or `did_not` of the goal."""

    event: str
    negated: bool
    events: int = Field(description="Events with this name that fulfil its conditions.")
    users: int = Field(description="Users who had one.")


class GoalView(BaseModel):
    """How often the goal was reached."""

    users: int = Field(
        description="Users who reached it at some time, at most: who did it; of `did_not`, who had and then did not "
        "for a whole window. Of all users: who was in the prediction's audience then is not kept."
    )
    needed: int = Field(description="So many users with the goal it takes to leave the warm-up.")
    parts: list[PartView]


class WarningView(BaseModel):
    """What speaks against it, and what to do."""

    what: str
    advice: str


class PredictionEstimateView(BaseModel):
    """What a prediction would have to learn from."""

    audience: int | None = Field(description="Users who would be in its audience now; null where that is not known.")
    no_audience: str | None = Field(description="Why not.")
    log: LogView
    goal: GoalView
    first_label: str | None = Field(
        description="When the first outcome is known: of the oldest event that is kept, after its window. Before the "
        "latest event: it is learned from history."
    )
    enough_users: Literal["at_once", "expected", "unknown"] = Field(
        description="`at_once`: the history has `needed` users with the goal whose outcome is known, and it is learned "
        "from; `expected`: at `enough_users_at`; `unknown`: nobody has reached it, or the prediction has an audience "
        "of its own, whose users alone count."
    )
    enough_users_at: str | None = Field(
        description="When the outcomes of `needed` different users with the goal are known: by the history where it "
        "has as many, else if it goes on at this rate. The model has to beat a plain rule besides."
    )
    warnings: list[WarningView]


class Estimator:
    """Answers for one prediction at a time; several threads may ask.

    `audience` counts who a filter holds for now, or says why that is not known; for None everybody.
    """

    def __init__(
        self,
        definer: Definer,
        history: EventHistory,
        audience: Callable[[Filter | None], tuple[int | None, str | None]],
        clock: Callable[[], float],
    ) -> None:
        self._definer = definer
        self._history = history
        self._audience = audience
        self._clock = clock
        self._turns = FewThreads(1, _WAITING, _busy)

    def answer(self, data: Any) -> PredictionEstimateView:
        """Raises `Problem` for a prediction that is not right, or where others are asked about, and StoreError."""
        view = self._definer.view()
        prediction = _prediction(view, data)
        with self._turns.turn(MAX_S):
            scan, problem = self._scan(view.whole, prediction)
        audience, why_not = self._audience(prediction.audience_filter)
        return _view(view.whole, prediction, (audience, why_not), scan, problem)

    def _scan(self, catalog: Catalog, prediction: Prediction) -> tuple[GoalScan, str | None]:
        end_s = self._clock() + MAX_S

        def is_late() -> bool:
            return self._clock() > end_s

        try:
            with closing(self._history.events()) as events:
                return scan_goals(catalog, prediction, events, max_records=MAX_EVENTS, is_late=is_late), None
        except NoLog:
            return scan_goals(catalog, prediction, (), max_records=0), "there is no log of events here"


def add_prediction_estimate(
    app: FastAPI, estimator: Estimator, authenticator: Authenticator, options: ApiOptions
) -> None:
    """Add the route."""
    given = access(authenticator, Role.READ)
    given["openapi_extra"] |= document.body(document.body_schema("prediction", is_new=False))

    @app.post(
        "/v1/predictions/estimate",
        tags=["predictions"],
        operation_id="estimateNewPrediction",
        summary="What a prediction would have to learn from, before it is made",
        response_model=PredictionEstimateView,
        responses=problems(400, 408, 409, 413, 415, 422),
        **given,
    )
    async def estimate(request: Request) -> Response:
        _, data = await read_json(request, options)
        # Not asyncio's own threads: those authenticate, and this may take long.
        found = await run_in_threadpool(estimator.answer, data)
        return Response(found.model_dump_json(), media_type="application/json")


def audience_size(stored: StoreReads, everyone: Everyone, tree: Filter | None) -> tuple[int | None, str | None]:
    """How many users a filter over traits and events holds for now, for None all; or why that is not known.

    Raises StoreError, and `Problem` where looking at all users takes too long.
    """
    try:
        with stored.reader() as reader:
            states = stored.shard_states(reader)
            if tree is None:
                return sum(info.users for info in reader.shard_infos()), None
            selectors = {id(state): Selector.of(state, tree) for _, state in states}
            with everyone.scan(reader, states) as pages:
                chosen = [int(selectors[id(p.state)].chosen(p.users, p.said).sum()) for p in pages]
            return sum(chosen), None
    except NotKept as error:
        return None, str(error)
    except NothingYet:
        return None, "nothing is stored yet"


def _busy() -> Problem:
    words = "other predictions are being estimated; try again in a moment"
    return Problem(Kind.OVERLOADED, words, headers={"Retry-After": "5"})


def _prediction(view: DefinitionsView, data: Any) -> Prediction:
    """Raises `Problem` as making it would, or changing it where there is one with its id that was made here."""
    body = read_body("prediction", data)
    known = view.whole.predictions
    is_there = body.id in known and view.source("prediction", body.id) == "api"
    free = (name for name in (UNNAMED, *(f"{UNNAMED}_{n}" for n in range(len(known)))) if name not in known)
    id_ = body.id if body.id is not None and (is_there or body.id not in known) else next(free)
    found = read("prediction", id_, body.definition)
    assert isinstance(found, Prediction)
    view.changed([Edit("prediction", id_, "edit" if is_there else "create", found)], "", 0.0)
    return found


def _view(
    catalog: Catalog,
    prediction: Prediction,
    audience: tuple[int | None, str | None],
    scan: GoalScan,
    problem: str | None,
) -> PredictionEstimateView:
    needed = prediction_specs(catalog)[0].min_goals
    lateness_s = catalog.time.lateness_s
    first_label_s = None if scan.first_s is None else _known_s(scan.first_s, prediction, lateness_s)
    # Goals of others teach it nothing, and nobody knows of past goals who was in its audience then.
    enough_s = None if prediction.audience is not None else _enough_s(scan, prediction, needed, lateness_s)
    parts = [
        PartView(event=atom.event, negated=atom.negated, events=count.events, users=count.users)
        for atom, count in zip(prediction.goal.atoms, scan.atoms, strict=True)
    ]
    return PredictionEstimateView(
        audience=audience[0],
        no_audience=audience[1],
        log=LogView(
            events=scan.events,
            first=time_text(scan.first_s),
            last=time_text(scan.last_s),
            whole=scan.is_whole and problem is None,
            limit=MAX_EVENTS,
            users=scan.users,
            problem=problem,
        ),
        goal=GoalView(users=scan.goal_users, needed=needed, parts=parts),
        first_label=time_text(first_label_s),
        enough_users=_enough_users(scan, enough_s),
        enough_users_at=time_text(enough_s),
        warnings=list(_warnings(prediction, scan, needed, audience[0])),
    )


def _known_s(moment_s: float, prediction: Prediction, lateness_s: float) -> float:
    """When the outcome of a moment is handed out: at a whole hour behind its window."""
    return (math.floor((moment_s + prediction.window_s + lateness_s) / HOUR_S) + 1.0) * HOUR_S


def _enough_s(scan: GoalScan, prediction: Prediction, needed: int, lateness_s: float) -> float | None:
    """When so many users have reached the goal and it is known: by the history, else if it goes on as it did."""
    if scan.first_s is None or scan.last_s is None or not scan.goal_users:
        return None
    had_s = scan.enough_s(needed)
    if had_s is not None:
        return _known_s(had_s, prediction, lateness_s)
    # Who was quiet for a window was so before the last one of the history: in that nobody can have been.
    blind_s = prediction.window_s if all(atom.negated for atom in prediction.goal.atoms) else 0.0
    span_s = max(scan.last_s - scan.first_s - blind_s, DAY_S)
    return _known_s(scan.first_s + span_s * needed / scan.goal_users, prediction, lateness_s)


def _enough_users(scan: GoalScan, enough_s: float | None) -> Literal["at_once", "expected", "unknown"]:
    if enough_s is None or scan.last_s is None:
        return "unknown"
    return "at_once" if enough_s <= scan.last_s else "expected"


def _warnings(prediction: Prediction, scan: GoalScan, needed: int, audience: int | None) -> Iterator[WarningView]:
    window = format_duration(prediction.window_s)
    other = _other_window(prediction)
    if not scan.events:
        yield WarningView(
            what="no events are kept to learn from",
            advice=f"it begins with the events from now on; its first outcome is known after {window}",
        )
        return
    for atom, count in zip(prediction.goal.atoms, scan.atoms, strict=True):
        if not count.events and scan.is_whole:
            conditions = " with these conditions" if atom.where else ""
            yield WarningView(
                what=f"no event {atom.event!r}{conditions} is among the {scan.events:,} that are kept",
                advice="look whether the name is spelled as in the events"
                + (", and the conditions" if atom.where else ""),
            )
    if scan.goal_users < needed:
        looked = "" if scan.is_whole else "the oldest "
        yield WarningView(
            what=f"{scan.goal_users:,} users have reached the goal in {looked}{scan.events:,} events; a model needs "
            f"{needed:,}",
            advice=f"take a broader goal (fewer conditions, or any of several events){other}; until then scores "
            "follow how often and how lately users were active",
        )
    if scan.first_s is not None and scan.last_s is not None and scan.last_s - scan.first_s < prediction.window_s:
        yield WarningView(
            what=f"the events that are kept span less than the window of {window}",
            advice="no outcome is known yet: it warms up until the first window has closed",
        )
    if audience == 0:
        yield WarningView(
            what="nobody is in its audience now", advice="look at the audience (of churn: at goal and lookback)"
        )
    elif audience is not None and audience < needed and (prediction.audience is not None or scan.goal_users < needed):
        yield WarningView(
            what=f"{audience:,} users are in its audience now; {needed:,} different ones have to reach the goal before "
            "its model is used",
            advice="take a broader audience (fewer conditions, or none); examples are only of users in it",
        )


def _other_window(prediction: Prediction) -> str:
    """Advice for more users with the goal: more do something in a longer window, and more do not in a shorter one."""
    window = format_duration(prediction.window_s)
    if all(atom.negated for atom in prediction.goal.atoms):
        return "" if prediction.window_s <= HOUR_S else f", or a shorter window than {window}"
    return "" if prediction.window_s >= MAX_WINDOW_S else f", or a longer window than {window}"
