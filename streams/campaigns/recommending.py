"""Recommendations of a message: asked for at the send, beside the batch, and the message waits for them.

The engine asks nobody itself. It notes what is to be asked for, lets the message wait, and is given the answer with the
turn of the user. All rules are asked again then. What was decided holds its texts, so a repetition shows the same.
Users of the control group are asked for, too: without that, an endpoint that fails would part the groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.campaigns import Recommendations
from streams.campaigns.effects import send_id
from streams.campaigns.question import ASK_AGAIN_S, Answer, Asked, Question, Tools, Wait, Withhold

ASK: Final = "ask-"
"""Begins the id of a question. A receiver drops what comes under an id that it has seen, and the channel of the message
may be the one that was asked: the message has another id than what was asked for it.
"""
_TOLD: Final = ("score", "likelihood", "category", "offer", "event", "campaign")
"""What the other side is told; of the user only the id, as it knows its users itself."""


def question_id(q: Question) -> str:
    """The same however often it is asked for this message."""
    return ASK + send_id(q.id, q.user, q.occasion)


def asked_of(q: Question, wanted: Recommendations, context: Mapping[str, Any]) -> Asked:
    """What is asked for, for this message."""
    subject = {name: context[name] for name in _TOLD if name in context}
    return Asked(question_id(q), wanted.source, q.user, q.id, subject)


def recommended(
    q: Question, wanted: Recommendations, tools: Tools, context: Mapping[str, Any]
) -> Answer | Wait | Withhold:
    """What the message may show; or it waits for that, or has waited for as long as it is worth."""
    id_ = question_id(q)
    answer = tools.answers.get(id_)
    if answer is not None and answer.found is not None:
        return answer
    if answer is not None and wanted.on_failure == "send_without":
        return Answer([])
    again_s = q.now_s + ASK_AGAIN_S
    if q.now_s >= q.deadline_s or (answer is not None and again_s > q.deadline_s):
        return Withhold("recommendations")
    if answer is None:
        tools.asks[id_] = asked_of(q, wanted, context)
        tools.under_way[q.id] += 1
    return Wait("recommendations", min(again_s, q.deadline_s))
