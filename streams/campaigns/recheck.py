"""Whether a message that was decided a while ago should still be delivered: what happened since then counts."""

from __future__ import annotations

from math import inf
from typing import Final

from streams.campaigns.decide import refusal_to_deliver
from streams.campaigns.effects import TEST, Send
from streams.campaigns.inputs import Facts
from streams.campaigns.question import ASK_AGAIN_S, Question, Tools, Wait, Withhold
from streams.campaigns.state import Occasion, Row

FRESH_S: Final = 60.0
"""A message is looked at again before an attempt that is later than so long after it was decided."""


def needs_recheck(send: Send, now_s: float) -> bool:
    """Whether `recheck` has to be asked before an attempt now."""
    return now_s - send.at_s > FRESH_S and not send.id.startswith(TEST)


def recheck(send: Send, channel: str, facts: Facts, tools: Tools, now_s: float) -> Withhold | Wait | None:
    """Why the message should not be delivered by this channel, for good or now; None if it should.

    What is dropped is told (`effects.dropped`) and counted; the user stays in the group, which is of those who were to
    be sent to.
    """
    # A version that nobody was in any more may be forgotten by the time somebody has a failure sent again.
    rules = tools.plan.rules(send.campaign, send.version) or tools.plan.rules(send.campaign)
    if rules is None:
        return Withhold("inactive")
    if now_s <= send.expires_s and tools.plan.activity(send.campaign, now_s) == "paused":
        return Wait("paused", now_s + ASK_AGAIN_S)
    question = Question(
        id=send.campaign,
        version=send.version,
        rules=rules,
        user=send.user,
        occasion=Occasion(send.kind, "", -inf),
        deadline_s=send.expires_s,
        message=None,
        offer=None,
        row=Row(),
        facts=facts,
        now_s=now_s,
    )
    return refusal_to_deliver(question, tools, channel)
