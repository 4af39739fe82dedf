"""Recommendations of messages: asked for beside the batch, waited for, shown as they were answered first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from config.campaigns import Campaign, Message, Messaging
from streams.campaigns.inputs import Crossing, Turn
from streams.campaigns.message import CompiledMessage
from streams.campaigns.plan import Definitions, Plan, Standing
from streams.campaigns.question import Answer, Asked
from streams.campaigns.state import Row
from streams.campaigns.trial import trial
from tests.campaign_run_world import NOW_S, Crash, FailingStore, World, track
from tests.campaign_world import Service, campaign, facts, journey, plan_of

MESSAGING = Messaging.model_validate(
    {"holdout": 0.0, "channels": {"open": {"kind": "log"}, "recs": {"kind": "webhook"}}}, context={}
)
TEXT = "{% for each in recommendations %}{{ each.name }} {% else %}nothing{% endfor %}"
IN = {"ann": facts("s")}
SHOES = Answer([{"name": "Shoes"}, {"name": "Socks"}])
FAILED = Answer(None)


def message(**more: Any) -> dict[str, Any]:
    return {"parts": {"body": TEXT}, "recommendations": {"from": "recs", **more}}


def asking(on_failure: str = "wait", **given: Any) -> Campaign:
    return campaign(message=message(on_failure=on_failure), **given)


def render(found: Message, channels: Sequence[str], context: Any) -> Any:
    return CompiledMessage.of(found).render(channels, context)


def service(rules: Campaign, **given: Any) -> Service:
    return Service.of({"c": rules}, messaging=MESSAGING, render=render, **given)


def enter(user: str = "ann", at_s: float = NOW_S) -> Crossing:
    return Crossing(user, "s", True, 1, at_s, "live")


def answer(service: Service, now_s: float, found: Answer) -> None:
    """Everybody is answered who was asked."""
    asks = list(service.asks.values())
    service.asks.clear()
    service.answers = {each.id: found for each in asks}
    service.step(now_s, [Turn(each.user, each.campaign) for each in asks], {each.user: facts("s") for each in asks})
    service.answers = {}


def test_a_message_waits_for_its_recommendations_and_shows_them() -> None:
    world = service(asking())
    world.step(NOW_S, [enter()], IN)
    assert (world.taken, world.counts("c")) == ([], {"waited_recommendations": 1})
    (asked,) = world.asks.values()
    assert (asked.source, asked.user, asked.campaign) == ("recs", "ann", "c")
    assert asked.subject == {"event": {}, "campaign": {"id": "c", "name": "Test"}}
    answer(world, NOW_S + 1.0, SHOES)
    (send,) = world.taken
    assert send.texts == {"open": {"body": "Shoes Socks "}}
    # The channel that is asked may be that of the message, and drops what comes under an id that it has seen.
    assert asked.id == f"ask-{send.id}"


def test_without_an_answer_it_is_sent_without_where_that_is_wanted() -> None:
    world = service(asking("send_without"))
    world.step(NOW_S, [enter()], IN)
    answer(world, NOW_S + 1.0, FAILED)
    assert [send.texts for send in world.taken] == [{"open": {"body": "nothing"}}]


def test_without_an_answer_it_is_asked_for_again_for_as_long_as_it_is_worth() -> None:
    world = service(asking(max_trigger_age="3m"))
    world.step(NOW_S, [enter()], IN)
    ids = {*world.asks}
    for minute in range(1, 4):
        answer(world, NOW_S + 60.0 * minute - 30.0, FAILED)
        world.step(NOW_S + 60.0 * minute + 30.0, [], IN)
        ids |= {*world.asks}
    assert len(ids) == 1, "it is asked for under one id"
    assert (world.taken, world.counts("c")) == ([], {"waited_recommendations": 1, "recommendations": 1})


def test_what_was_never_answered_comes_again_by_itself() -> None:
    """Whoever asked is gone: nothing of what is under way is kept."""
    world = service(asking())
    world.step(NOW_S, [enter()], IN)
    world.asks.clear()
    world.step(NOW_S + 60.0, [], IN)
    answer(world, NOW_S + 61.0, SHOES)
    assert len(world.taken) == 1


def test_all_rules_are_asked_again_when_the_answer_is_there() -> None:
    world = service(asking(skip_recent_goal="1d"))
    world.step(NOW_S, [enter()], IN)
    asked = list(world.asks.values())
    world.answers = {each.id: SHOES for each in asked}
    world.step(NOW_S + 1.0, [Turn("ann", "c")], {"ann": facts("s", latest_s={"Order": NOW_S})})
    assert (world.taken, world.counts("c")["goal"]) == ([], 1)


def test_the_control_group_waits_for_them_too() -> None:
    """Else an endpoint that fails would part the groups."""
    world = service(asking(control=1.0))
    world.step(NOW_S, [enter()], IN)
    answer(world, NOW_S + 1.0, SHOES)
    assert (world.taken, world.counts("c")) == ([], {"waited_recommendations": 1, "control": 1})


def test_on_a_dry_run_nobody_is_asked() -> None:
    plan = Plan(Definitions(MESSAGING, {"c": {1: asking()}}, standings={"c": Standing("dry")}))
    world = Service(plan, render=render)
    world.step(NOW_S, [enter()], IN)
    assert (world.asks, world.counts("c")) == ({}, {"dry": 1})


def test_a_step_of_a_journey_waits_for_them_and_goes_on() -> None:
    rules = journey({"go": {"send": message()}, "rest": {"wait": "1d"}})
    world = Service.of(journeys={"j": rules}, messaging=MESSAGING, render=render)
    world.step(NOW_S, [enter()], IN)
    assert world.rows["ann"].journeys["j"].why == "recommendations"
    answer(world, NOW_S + 1.0, SHOES)
    assert [send.step for send in world.taken] == ["go"]
    assert world.rows["ann"].journeys["j"].step == "rest"


def test_a_preview_asks_and_says_that_nobody_answered() -> None:
    plan = plan_of({"c": asking()}, messaging=MESSAGING)
    found = trial(plan, "c", "ann", facts("s"), Row(), NOW_S, recommend=lambda _: SHOES)
    assert (found.failed, found.parts[0].texts) == (None, {"body": "Shoes Socks "})
    without = trial(plan, "c", "ann", facts("s"), Row(), NOW_S)
    assert [each.reason for each in without.against] == ["recommendations"]
    assert without.failed == "recommendations: 'recs' has not answered with any"
    sent = trial(plan_of({"c": asking("send_without")}, messaging=MESSAGING), "c", "ann", facts("s"), Row(), NOW_S)
    assert (sent.failed, sent.parts[0].texts) == (None, {"body": "nothing"})


# --- at work ---------------------------------------------------------------------------------------------------------


class Recommender:
    """See `partition_run.Recommender`: every answer is another one."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answered = 0

    def ask(self, asked: Iterable[Asked]) -> None:
        self.asked += asked

    def take(self, limit: int) -> list[tuple[Asked, Answer]]:
        found = self.asked[self._answered :][:limit]
        self._answered += len(found)
        return [(each, Answer([{"name": f"answer {self._answered}"}])) for each in found]

    def under_way(self) -> Counter[str]:
        return Counter(each.campaign for each in self.asked[self._answered :])


class Silent(Recommender):
    """Does not answer yet."""

    may_answer = False

    def take(self, limit: int) -> list[tuple[Asked, Answer]]:
        return super().take(limit) if self.may_answer else []


def test_no_more_are_asked_about_at_once_than_the_rate_has_room_for() -> None:
    """Else a whole queue would be asked about: who waits for an answer has used nothing of the rate."""
    recommender = Silent()
    rules = asking(rate={"sends": 2, "per": "hour"})
    world = World(plan_of({"c": rules}, messaging=MESSAGING))
    world.start(recommender=recommender)
    for number in range(7):
        world.events.append(track(f"user{number}", "Enter", NOW_S, f"e{number}"))
    for _ in range(5):
        world.settle()
    assert len(recommender.asked) == 2
    recommender.may_answer = True
    for _ in range(3):
        world.settle()
    assert (len(recommender.asked), len(world.receiver.sends)) == (2, 2)
    world.now_s += 3_600.0
    for _ in range(8):
        world.settle()
    assert (len(recommender.asked), len(world.receiver.sends)) == (4, 4)


@pytest.mark.parametrize("is_done", [False, True])
def test_what_was_decided_with_an_answer_is_said_again_as_it_was(is_done: bool) -> None:
    """Also if the process is killed between the commit and the publishing, and the other side says something else."""
    store, recommender = FailingStore(), Recommender()
    world = World(plan_of({"c": asking()}, messaging=MESSAGING), store=store)
    world.start(recommender=recommender)
    world.events.append(track("ann", "Enter", NOW_S, "e"))
    world.run.assign(world.told)
    world.shard.store()
    world.shard.publish()
    while not recommender.asked:
        world.steps(1)
    store.fault = lambda call, done: Crash() if call == "commit" and done == is_done else None
    with pytest.raises(Crash):
        world.steps(4)
    store.fault = lambda _call, _is_done: None
    world.start(recommender=recommender)
    world.settle()
    if not is_done:
        assert world.receiver.sends == []
        world.now_s += 61.0
        for _ in range(5):
            world.settle()
    (send,) = world.receiver.sends
    assert {each.id for each in recommender.asked} == {f"ask-{send.id}"}
    assert send.texts == {"open": {"body": "answer 1 " if is_done else "answer 2 "}}
