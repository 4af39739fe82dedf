"""Why a message is not sent, in words: what is counted has a short name (`question.Reason`), and people read this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, str]] = {
    "inactive": "it is paused, archived, not begun or over",
    "stale": "the occasion is too long ago",
    "behind": "what is known of the user is too old, or not known for long enough",
    "unknown": "there is no such user",
    "left": "the user is not in the segment (on exit: is in it)",
    "filter": "the filter does not hold for the user",
    "goal": "the user has just done what it is for",
    "again": "the user had it, and may not have it again yet",
    "cooldown": "the user had it too recently",
    "consent": "the user has agreed to none of its channels, or cannot be reached by them",
    "caps": "the user has had as many messages as the caps allow",
    "quiet": "it is night on the user's clock",
    "breaker": "many times as much as usual would be sent",
    "rate": "as many as the rate allows were sent",
    "recommendations": "nobody has answered who was asked for recommendations",
    "no_score": "the ladder goes by a score that the user does not have",
    "budget": "the budget is used up",
    "message": "a template fails",
    "dry": "it is on a dry run",
    "holdout": "no campaign sends anything to the user",
    "control": "the user is in the control group",
    "inside": "the user is in the journey already",
    "paused": "it is paused",
}
"""Reason -> words, in English."""
