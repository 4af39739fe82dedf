"""A user as the store has them now."""

from __future__ import annotations

from fastapi import FastAPI

from config.errors import CatalogMoved, NotStored
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.gone import refuse_deleted
from streams.api.keys import Role
from streams.api.read_predictions import PredictionReads, Standings
from streams.api.services import Services
from streams.api.views import (
    EventCountView,
    MembershipView,
    ReasonView,
    UserPredictionView,
    UserView,
    time_text,
)
from streams.campaigns.profiles import Profile
from streams.runtime.lookup import UserDetail, UserPrediction, look_up


def add_users(app: FastAPI, services: Services, reads: PredictionReads, authenticator: Authenticator) -> None:
    """Add the routes of users."""

    # An id may hold slashes.
    @app.get(
        "/v1/users/{user_id:path}",
        tags=["users"],
        operation_id="getUser",
        summary="A user: scores with their reasons, segments, events",
        responses=problems(404, 410, 422),
        **access(authenticator, Role.READ),
    )
    def one_user(user_id: str) -> UserView:
        return get_user(services, reads, user_id)


def get_user(services: Services, reads: PredictionReads, user_id: str) -> UserView:
    """A user. Raises NotStored, StoreError, and `Problem` for one who was deleted."""
    try:
        return _one_user(services, reads, user_id)
    except CatalogMoved:  # a shard has taken up other definitions since its state was read
        return _one_user(services, reads, user_id)


def _one_user(services: Services, reads: PredictionReads, user_id: str) -> UserView:
    stored = services.stored
    with stored.reader() as reader:
        state = stored.state_of_user(reader, user_id)
        detail = None if state is None else look_up(reader, state, user_id)
        if detail is None:
            refuse_deleted(reader, user_id, services.ledger_key)
    if state is None or detail is None:
        raise NotStored(f"nobody has seen a user {user_id[:100]!r}; ids are as in the events")
    profile = services.campaign_books.known_of(detail.shard, user_id).profile
    return user_view(detail, reads.standings_of_shard(state), profile)


def user_view(detail: UserDetail, standings: Standings, profile: Profile | None = None) -> UserView:
    """A user as it is answered. `profile`: what campaigns know."""
    return UserView(
        user_id=detail.user,
        first_seen=time_text(detail.first_s),
        last_seen=time_text(detail.last_s),
        scored_at=time_text(detail.scored_s),
        predictions=[_prediction(found, standings.status(found.id), detail.first_s) for found in detail.predictions],
        segments=[
            MembershipView(id=found.id, name=found.name, since=time_text(found.since_s), entry_count=found.entry_count)
            for found in detail.segments
        ],
        events=[
            EventCountView(name=found.name, total=found.total, last=time_text(found.last_s)) for found in detail.events
        ],
        traits=detail.traits,
        traits_as_sent=None if profile is None else profile.traits,
        remembered=detail.remembered,
    )


def _why_not_scored(found: UserPrediction, first_s: float) -> str | None:
    if found.frozen_s is None or found.score is not None:
        return None
    if first_s > found.frozen_s:
        return "the user came after everybody was scored for this preview"
    return "the user was not known, or not in the audience, when everybody was scored for this preview"


def _prediction(found: UserPrediction, status: str, first_s: float) -> UserPredictionView:
    return UserPredictionView(
        id=found.id,
        name=found.name,
        kind=found.kind,
        score_name=found.score_name,
        scale=found.scale,
        status=status,
        score=found.score,
        likelihood=found.likelihood,
        category=found.category,
        category_name=found.category_name,
        frozen_at=time_text(found.frozen_s),
        not_scored=_why_not_scored(found, first_s),
        lapsed_at=time_text(found.lapsed_s),
        reasons=[
            ReasonView(feature=r.feature, level=r.level, contribution=r.contribution, words=str(r))
            for r in found.reasons
        ],
    )
