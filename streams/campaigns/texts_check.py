"""What is wrong with the texts of a campaign or journey, before anybody is sent to: templates, and what they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from config.campaigns import Campaign, Message
from config.checks import Finding, one_of
from config.journeys import Journey
from config.yaml_text import Location
from streams.campaigns.context import OF_OFFER, OF_PREDICTION, names_of
from streams.campaigns.message import CompiledMessage, unknown_names
from streams.campaigns.question import MessageFailed
from streams.campaigns.trial import sends

_EXPECTED: Final = "a template (docs/campaigns.md)"


def check_texts(id_: str, rules: Campaign | Journey) -> Iterator[Finding]:
    """Every mistake, with the part in which it is; what is found begins with part and line of the text."""
    kind = "campaigns" if isinstance(rules, Campaign) else "journeys"
    for step, message, offer in sends(rules):
        here: Location = (kind, id_, "message") if step is None else (kind, id_, "steps", step, "send")
        known = names_of(rules, offer, message)
        yield from _check_parts(message.parts, (*here, "parts"), known)
        for channel, parts in message.by_channel.items():
            yield from _check_parts(parts, (*here, "by_channel", channel), known)


def _check_parts(parts: Mapping[str, str], here: Location, known: Sequence[str]) -> Iterator[Finding]:
    for name, text in parts.items():
        alone = Message(parts={name: text})
        try:
            CompiledMessage.of(alone)
        except MessageFailed as failed:
            yield (*here, name), str(failed), _EXPECTED
        else:
            for place, unknown in unknown_names(alone, known):
                yield (*here, name), f"{place}: {unknown!r}, which is never known", _name_expected(unknown, known)


def _name_expected(name: str, known: Sequence[str]) -> str:
    """What a message may name instead, or what it would take."""
    if name in OF_PREDICTION:
        return f"the key prediction (whose {name} it is), or one of {', '.join(known)}"
    if name in OF_OFFER:
        return f"the key offer beside it, or one of {', '.join(known)}"
    return f"{one_of(name, known)}; a trait is user.TRAIT"
