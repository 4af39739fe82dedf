"""What is asked about one would-be message, and what can be answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from config.campaigns import Campaign, Message
from config.journeys import Journey
from config.offers import Offer
from streams.campaigns.allowance import Allowance
from streams.campaigns.inputs import Facts
from streams.campaigns.plan import Plan
from streams.campaigns.state import Assignment, Books, Given, Occasion, Row

Reason: TypeAlias = Literal[
    "inactive",  # paused, archived, not begun or over
    "stale",  # the occasion is too long ago
    "behind",  # what is known is too old, for longer than the occasion is worth
    "unknown",  # there is no such user (any more)
    "left",  # the crossing has been undone
    "filter",  # the campaign's own filter does not hold
    "goal",  # the user has just done it
    "again",  # the user had it, and may not have it again (yet)
    "cooldown",
    "consent",  # by no channel
    "caps",
    "quiet",  # quiet hours last longer than the occasion is worth
    "breaker",
    "rate",  # as for quiet
    "recommendations",  # nobody has answered for longer than the occasion is worth
    "no_score",  # the ladder has nothing to go by
    "budget",
    "message",  # the template fails
    "dry",  # it would have been sent, or drawn
    "holdout",
    "control",
]
Why: TypeAlias = Literal["behind", "quiet", "rate", "paused", "recommendations"]
ARMS: Final = ("treated", "control", "holdout")
ASK_AGAIN_S: Final = 60.0
"""What waits for shards to catch up is asked again after so long."""


class MessageFailed(Exception):
    """A template cannot be rendered; the message says where and why."""


Render: TypeAlias = Callable[[Message, tuple[str, ...], Mapping[str, Any]], Mapping[str, Mapping[str, str]]]
"""From a message, channels and what it may name to its texts: channel -> part -> text. Raises MessageFailed."""


class Asked(NamedTuple):
    """Recommendations that a message waits for."""

    id: str
    """Of the question: the same however often it is asked for one message, and not that of the message."""
    source: str
    """The channel whose address and secret are asked."""
    user: str
    campaign: str
    subject: Mapping[str, Any]
    """What the other side is told of the message: what its texts may name of score, offer, event and campaign; as it is
    now, so a repetition may say something else."""


class Answer(NamedTuple):
    """What came of it."""

    found: Sequence[Any] | Mapping[str, Any] | None
    """None: it has failed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What decisions use beside their subject."""

    plan: Plan
    books: Books
    allowance: Allowance
    render: Render
    usual: Mapping[str, Mapping[int, int]]
    """Campaign or journey -> hour of the day (UTC) -> most messages in it (`usual_hours`); without one, not known."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """Id of a question -> what came of asking for the recommendations of its message."""
    asks: dict[str, Asked] = field(default_factory=dict)
    """Id of a question -> what is to be asked, beside this batch: nobody waits for the other side."""
    under_way: Counter[str] = field(default_factory=Counter)
    """Campaign or journey -> questions that are not answered, those of this batch among them."""
    queues: Collection[str] = ()
    """Queues (`Row.queued`) in which somebody may stand from before this batch."""


@dataclass(frozen=True, slots=True)
class Question:
    """One would-be message."""

    id: str
    """Of the campaign or journey."""
    version: int
    rules: Campaign | Journey
    user: str
    occasion: Occasion
    deadline_s: float
    """Nothing is sent behind it: the occasion would be stale."""
    message: Message | None
    """None: it is asked for something else, the beginning of a journey."""
    offer: Offer | None
    row: Row
    facts: Facts
    now_s: float
    filter: str | None = None
    """Name of the filter that has to hold."""
    why: str = ""
    """What it has waited for so far (`Waiting.why`, `At.why`); empty: nothing."""

    @property
    def assigned(self) -> Assignment | None:
        """What the user had of it."""
        return self.row.assigned.get(self.id)

    @property
    def has_waited(self) -> bool:
        """Whether it was held back before. A step is held by its journey."""
        return self.why not in ("", "moment") and self.occasion.kind != "step"


@dataclass(frozen=True, slots=True)
class Withhold:
    """Nothing is sent, for good."""

    reason: Reason
    words: str = ""
    offer: Given | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is sent yet."""

    reason: Why
    due_s: float
    """Infinity: until its turn comes."""


@dataclass(frozen=True, slots=True)
class Go:
    """It is sent."""

    channels: tuple[str, ...]
    offer: Given | None
    texts: Mapping[str, Mapping[str, str]]
    addresses: Mapping[str, str]
    """Of channels that need one."""


Verdict: TypeAlias = Withhold | Wait | Go
Rule: TypeAlias = Callable[[Question, Tools], Withhold | Wait | None]
