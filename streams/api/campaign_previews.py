"""What a campaign or journey would do, before it is made: to everybody in its audience, and to one user."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from config.catalog import Filter
from config.errors import NotKept, NotStored
from streams.api.auth import Authenticator, access
from streams.api.bodies import Bodies, described
from streams.api.campaign_bodies import AskedAbout, asked_about
from streams.api.definer import Definer
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.keys import Caller, Role
from streams.api.problems import Kind, Problem
from streams.api.services import Services
from streams.api.views import time_text
from streams.campaigns.effects import TEST
from streams.campaigns.inputs import Facts
from streams.campaigns.plan import Plan, Standing
from streams.campaigns.preview import Basis, OfferPreview, Preview, Previewer, RungPreview, basis_of
from streams.campaigns.profiles import with_profile
from streams.campaigns.question import Answer, Asked
from streams.campaigns.state import Row
from streams.campaigns.trial import Part, Recommend, Trial, trial
from streams.campaigns.words import REASONS
from streams.core.partition import shard_of
from streams.runtime.campaigns.definitions import kinds_of
from streams.runtime.campaigns.endpoints import endpoint_of
from streams.runtime.campaigns.past import known_of
from streams.runtime.campaigns.preview import PageColumns
from streams.runtime.campaigns.recommending import ask_once
from streams.runtime.campaigns.shard_facts import StoredShardFacts
from streams.runtime.campaigns.two_logs import Place
from streams.runtime.deliveries.sender import Sender

_DEFINITION: Final[Any] = {
    "name": "Cart reminder",
    "segment": "orders_7d.high",
    "conversion": {"event": "Order Completed"},
    "channels": ["app"],
    "message": {"parts": {"body": "Hello {{ user.first_name | default('you') }}"}},
}
_ASKED_S: Final = 5.0
"""So long a preview waits for recommendations."""
_NONE: Final = Answer([])
"""Recommendations where nobody is asked."""
_AS_WRITTEN: Final = "A campaign or journey as in a catalog; one that has `steps` is a journey."


class PreviewRequest(BaseModel):
    """A definition, and the filter of its segment where that is yet to be made."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"definition": _DEFINITION}]})
    definition: dict[str, Any] = Field(description=_AS_WRITTEN)
    segment: Filter | None = Field(
        default=None, description="Who would be in the segment that the definition names, where it does not exist yet."
    )


class RungView(BaseModel):
    """One value of an offer."""

    value: float
    users: int = Field(description="Users who may be sent to, and whose score leads here.")
    messages: float = Field(description="Of them, expected in the treated group.")
    anyway: float | None = Field(description="Of the messages, to users who are expected to do it without one.")
    cost_at_least: float | None = Field(description="If the offer changes nothing: what those cost.")
    cost_at_most: float | None = Field(description="If everybody uses it; null without order_value.")


class BudgetView(BaseModel):
    """A budget beside what the messages would take of it."""

    amount: float
    per: str
    needed: float = Field(description="What all messages at once would take; each takes the whole cost of its offer.")
    messages: float = Field(description="How many can go out with it, expected.")


class OfferView(BaseModel):
    """One offer: a campaign's, or of a step of a journey, as if everybody in the audience came to that step."""

    step: str | None
    unit: str
    rungs: list[RungView]
    without_score: int = Field(description="Users who get nothing: the ladder has nothing to go by.")
    cost_at_least: float | None
    cost_at_most: float | None
    budget: BudgetView | None


class BasisView(BaseModel):
    """By whose likelihood it is told who would do it anyway."""

    prediction_id: str
    window_s: float = Field(description="Within so many seconds.")


class PreviewView(BaseModel):
    """As if it came to everybody in the audience now."""

    as_of: str | None
    users: int = Field(description="In the audience: in the segment, and the filter holds.")
    left_out: dict[str, int | None] = Field(
        description="Reason -> users who are left out for it: `goal`, `consent`; null where that is not kept of users."
    )
    reachable: int = Field(description="The rest.")
    holdout: float = Field(description="Of them, expected in the holdout,")
    control: float = Field(description="in the control group,")
    messages: float = Field(description="and sent to.")
    anyway: float | None = Field(description="Of the messages, to users who are expected to do it without one.")
    basis: BasisView | None
    no_basis: str | None = Field(description="Why it is not known who would do it anyway.")
    offers: list[OfferView]


class MessageRequest(BaseModel):
    """Either a definition, or the id of a campaign or journey that exists; and a user."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"definition": _DEFINITION, "user_id": "ann"}]}
    )
    definition: dict[str, Any] | None = Field(default=None, description=_AS_WRITTEN)
    id: str | None = Field(
        default=None,
        max_length=200,
        description="Of one that exists; what the user had of it counts, and whether it is paused. With a definition: "
        "as if it were edited to that.",
    )
    user_id: str = Field(min_length=1, max_length=1_000, examples=["ann"])
    step: str | None = Field(default=None, max_length=200, description="Which message of a journey; else its first.")
    event: dict[str, Any] = Field(
        default_factory=dict, description="Properties of the event, for a campaign that is triggered by one."
    )

    @model_validator(mode="after")
    def _either(self) -> MessageRequest:
        if self.definition is None and self.id is None:
            raise ValueError("a definition, or the id of a campaign or journey, is needed")
        return self


class GivenView(BaseModel):
    """What the user would be offered."""

    value: float
    unit: str
    rung: int
    cost: float
    held_down: bool = Field(description="An earlier offer keeps it from being better.")


class TextsView(BaseModel):
    """What goes by one channel."""

    channel: str
    open: bool = Field(description="Whether the user has agreed to it, and it reaches them.")
    address: str | None
    texts: dict[str, str] = Field(description="Part of the message -> text.")


class AgainstView(BaseModel):
    """A rule that says no."""

    reason: str
    words: str
    until: str | None = Field(description="It would be asked again then; null: the message would not be sent.")


class MessageView(BaseModel):
    """What one user would be sent now. Nothing is sent, counted or used."""

    user_id: str
    step: str | None
    group: str = Field(description="`treated`, `control` or `holdout`, as the user was drawn, or would be.")
    offer: GivenView | None
    channels: list[TextsView]
    failed: str | None = Field(description="Which part of the message fails in which line, and why.")
    recommendations: Literal["asked", "not-asked"] | None = Field(
        description="Whether a message that wants some asked for them; with a key that may not write nobody is asked, "
        "and it has an empty list."
    )
    against: list[AgainstView] = Field(
        description="All that speaks against it, in the order of the rules. Rate, budget and breaker are not asked."
    )


def add_campaign_previews(
    app: FastAPI, services: Services, definer: Definer, everyone: Everyone, authenticator: Authenticator, bodies: Bodies
) -> None:
    """Add the routes."""
    previews = CampaignPreviews(services, definer, everyone)
    wanted, of_message = bodies.of(PreviewRequest), bodies.of(MessageRequest)

    def about(operation: str, summary: str, body: Any, *statuses: int) -> dict[str, Any]:
        given = access(authenticator, Role.READ)
        given["openapi_extra"] |= described(body)
        answers = problems(400, 408, 413, 415, 422, *statuses)
        return {"tags": ["campaigns"], "operation_id": operation, "summary": summary, "responses": answers, **given}

    @app.post(
        "/v1/campaigns/preview",
        **about("previewCampaign", "What a campaign or journey would do to everybody", PreviewRequest, 409),
    )
    def preview(request: PreviewRequest = wanted) -> PreviewView:
        return previews.everybody(request.definition, request.segment)

    @app.post(
        "/v1/campaigns/preview-message",
        **about("previewMessage", "What one user would be sent now", MessageRequest, 404, 409),
    )
    def message(request: Request, wanted: MessageRequest = of_message) -> MessageView:
        caller: Caller = request.state.caller
        return previews.message(wanted, may_ask=caller.role.allows(Role.WRITE))


class CampaignPreviews:
    """Answers. May be used by several threads."""

    def __init__(self, services: Services, definer: Definer, everyone: Everyone) -> None:
        self._services = services
        self._definer = definer
        self._everyone = everyone

    def everybody(self, definition: Mapping[str, Any], segment: Filter | None = None) -> PreviewView:
        """Raises `Problem` for a definition that is not right, or what cannot be told of all users; StoreError."""
        view = self._definer.view()
        asked = asked_about(definition, view, self._services.campaigns.kept().messaging(), segment=segment)
        basis = basis_of(asked.rules, view.whole.predictions)
        previewer = Previewer(asked.rules, asked.messaging, asked.kinds)
        as_of_s = self._services.wall()
        with self._services.stored.reader() as reader:
            states = self._services.stored.shard_states(reader)
            try:
                columns = PageColumns(
                    states,
                    asked.rules,
                    asked.messaging,
                    basis=basis if isinstance(basis, Basis) else None,
                    instead=segment,
                )
            except NotKept as error:
                raise Problem(Kind.CANNOT_ESTIMATE, str(error)) from error
            with self._everyone.scan(reader, states) as pages:
                for page in pages:
                    previewer.add(columns.of(page))
        return _preview_view(previewer.result(), basis, as_of_s)

    def message(self, request: MessageRequest, *, may_ask: bool) -> MessageView:
        """`may_ask`: recommendations are asked for, signed and of whom the definition names; else there are none.

        Raises NotStored for what does not exist, `Problem` for a definition that is not right; StoreError.
        """
        asked, standing = self._asked(request)
        plan, now_s = asked.plan(standing), self._services.wall()
        wanted: list[Asked] = []

        def note(each: Asked) -> Answer:
            wanted.append(each)
            return _NONE

        with self._everyone.turn():  # it reads the state of a shard, and a message may take its time
            facts, row = self._facts(plan, request.user_id, now_s)
            found = self._trial(plan, asked.id, request, facts, row, note)
        if not wanted or not may_ask:
            return _message_view(request.user_id, found, "not-asked" if wanted else None)
        answer = self._recommend(wanted[0])  # without a turn: others need not wait for an endpoint
        with self._everyone.turn():
            found = self._trial(plan, asked.id, request, facts, row, lambda _: answer)
        return _message_view(request.user_id, found, "asked")

    def _trial(
        self, plan: Plan, id_: str, request: MessageRequest, facts: Facts, row: Row, recommend: Recommend
    ) -> Trial:
        """Of what a definition that is no campaign yet would know, messages of others are all."""
        known = row if request.id is not None else Row(sends_s=row.sends_s)
        now_s = self._services.wall()
        try:
            return trial(
                plan,
                id_,
                request.user_id,
                facts,
                known,
                now_s,
                step=request.step,
                properties=request.event,
                recommend=recommend,
            )
        except KeyError:
            where = "it sends nothing" if request.step is None else f"no step {request.step!r} of it sends anything"
            raise NotStored(where) from None

    def _recommend(self, asked: Asked) -> Answer:
        """As the service would ask at the send, once, and for as long as somebody waits for a preview."""
        endpoint = endpoint_of(self._services.channels.settings, asked.source)
        if endpoint is None:
            return Answer(None)
        options = self._services.options

        async def ask() -> Answer:
            sender = Sender(allow_private=options.webhooks_private, timeout_s=min(_ASKED_S, options.webhooks_timeout_s))
            try:
                return await ask_once(sender, endpoint, asked._replace(id=TEST + asked.id), self._services.wall())
            finally:
                await sender.close()

        return asyncio.run(ask())

    def _asked(self, request: MessageRequest) -> tuple[AskedAbout, Standing | None]:
        kept, view = self._services.campaigns.kept(), self._definer.view()
        messaging, standing, rules = kept.messaging(), None, None
        if request.id is not None:
            found = kept.find(request.id)
            if found is None:
                raise NotStored(f"there is no campaign or journey {request.id!r}")
            standing, rules = found.standing, found.definition()
        if request.definition is not None:
            asked = asked_about(request.definition, view, messaging)
            return (asked if request.id is None else asked._replace(id=request.id)), standing
        assert rules is not None, "the request has one of both"
        assert request.id is not None
        kinds = dict(kept.definitions(kinds_of(view.whole)).kinds)  # also of predictions that are gone
        return AskedAbout(request.id, rules, messaging, kinds), standing

    def _facts(self, plan: Plan, user: str, now_s: float) -> tuple[Facts, Row]:
        """As the run of the user's partition would read them, but as of now, whatever is still on its way."""
        services = self._services
        with services.stored.reader() as reader:
            shard = shard_of(user, reader.info.shards)
            stored = StoredShardFacts(
                lambda: reader,
                shard,
                clock=services.clock,
                ledger_key=services.ledger_key,
                codec=services.stored.codec,
            )
            stored.use(plan)
            facts = stored.facts([user], now_s)[user]
        known = services.campaign_books.known_of(shard, user)
        events = known_of(Place.from_bytes(known.position), plan.latest())
        return with_profile(facts, known.profile, events), known.row or Row()


# --- views -----------------------------------------------------------------------------------------------------------


def _preview_view(found: Preview, basis: Basis | str, as_of_s: float) -> PreviewView:
    return PreviewView(
        as_of=time_text(as_of_s),
        users=found.users,
        left_out=dict(found.left_out),
        reachable=found.reachable,
        holdout=found.holdout,
        control=found.control,
        messages=found.messages,
        anyway=found.anyway,
        basis=BasisView(prediction_id=basis.prediction, window_s=basis.window_s) if isinstance(basis, Basis) else None,
        no_basis=None if isinstance(basis, Basis) else basis,
        offers=[_offer_view(each) for each in found.offers],
    )


def _offer_view(found: OfferPreview) -> OfferView:
    budget = found.budget
    return OfferView(
        step=found.step,
        unit=found.unit,
        rungs=[_rung_view(each) for each in found.rungs],
        without_score=found.without_score,
        cost_at_least=found.cost_at_least,
        cost_at_most=found.cost_at_most,
        budget=None
        if budget is None
        else BudgetView(amount=budget.amount, per=budget.per, needed=budget.needed, messages=budget.messages),
    )


def _rung_view(found: RungPreview) -> RungView:
    return RungView(
        value=found.value,
        users=found.users,
        messages=found.messages,
        anyway=found.anyway,
        cost_at_least=found.cost_at_least,
        cost_at_most=found.cost_at_most,
    )


def _message_view(user: str, found: Trial, recommendations: Literal["asked", "not-asked"] | None) -> MessageView:
    offer = found.offer
    return MessageView(
        user_id=user,
        step=found.step,
        group=found.group,
        offer=None
        if offer is None
        else GivenView(
            value=offer.value, unit=offer.unit, rung=offer.rung, cost=offer.cost, held_down=offer.is_held_down
        ),
        channels=[_texts_view(each) for each in found.parts],
        failed=found.failed,
        recommendations=recommendations,
        against=[
            AgainstView(reason=each.reason, words=REASONS[each.reason], until=time_text(each.until_s))
            for each in found.against
        ],
    )


def _texts_view(part: Part) -> TextsView:
    return TextsView(channel=part.channel, open=part.is_open, address=part.address, texts=dict(part.texts))
