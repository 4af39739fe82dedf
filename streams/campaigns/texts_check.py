"""What is wrong with the texts of a campaign or journey, before anybody is sent to: templates, and what they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from config.campaigns import NEEDED_OF_MAIL, Campaign, Channel, Message
from config.catalog import Catalog
from config.checks import Finding, one_of
from config.errors import Problem
from config.journeys import Journey
from config.yaml_text import Location, path_text
from streams.campaigns.context import OF_OFFER, OF_PREDICTION, keys_of, names_of
from streams.campaigns.message import CompiledMessage, unknown_keys, unknown_names
from streams.campaigns.question import MessageFailed
from streams.campaigns.trial import sends

_EXPECTED: Final = "a template (docs/campaigns.md)"


def check_texts(id_: str, rules: Campaign | Journey, channels: Mapping[str, Channel]) -> Iterator[Finding]:
    """Every mistake, with the part in which it is; what is found begins with part and line of the text.

    `channels`: those of messaging; what a mail lacks is told, too.
    """
    kind = "campaigns" if isinstance(rules, Campaign) else "journeys"
    for step, message, offer in sends(rules):
        here: Location = (kind, id_, "message") if step is None else (kind, id_, "steps", step, "send")
        known = _Known(names_of(rules, offer, message), keys_of(rules, offer))
        yield from _check_parts(message.parts, (*here, "parts"), known)
        for channel, parts in message.by_channel.items():
            yield from _check_parts(parts, (*here, "by_channel", channel), known)
        mails = [each for each in rules.channels if each in channels and channels[each].kind == "email"]
        yield from _check_mails(message, mails, (*here, "parts"))


def problems_of_texts(catalog: Catalog) -> list[Problem]:
    """Every mistake in the texts of a catalog's campaigns and journeys, with its line."""
    defined: list[tuple[str, Campaign | Journey]] = [
        *catalog.sections.campaigns.items(),
        *catalog.sections.journeys.items(),
    ]
    messaging = catalog.sections.messaging
    channels = {} if messaging is None else messaging.channels
    return [
        Problem(catalog.origin.line(place), path_text(place), found, expected)
        for id_, rules in defined
        for place, found, expected in check_texts(id_, rules, channels)
    ]


class _Known(NamedTuple):
    """What a message may know of some user."""

    names: Sequence[str]
    keys: Mapping[str, Sequence[str]]


def _check_mails(message: Message, mails: Sequence[str], here: Location) -> Iterator[Finding]:
    for channel in mails:
        for part in NEEDED_OF_MAIL:
            if part not in message.of(channel):
                found = f"no part {part!r} for the channel {channel!r}, which sends e-mail"
                yield here, found, f"the part {part!r}, under parts or by_channel"


def _check_parts(parts: Mapping[str, str], here: Location, known: _Known) -> Iterator[Finding]:
    for name, text in parts.items():
        alone = Message(parts={name: text})
        try:
            CompiledMessage.of(alone)
        except MessageFailed as failed:
            yield (*here, name), str(failed), _EXPECTED
        else:
            for place, unknown in unknown_names(alone, known.names):
                yield (*here, name), f"{place}: {unknown!r}, which is never known", _name_expected(unknown, known.names)
            for place, root, key in unknown_keys(alone, known.keys):
                found = f"{place}: {f'{root}.{key}'!r}, which is never known"
                yield (*here, name), found, _key_expected(root, key, known.keys[root])


def _key_expected(name: str, key: str, known: Sequence[str]) -> str:
    """What there is in that name."""
    if name == "event":
        return f"{key} under properties of a trigger by an event: {{event: NAME, properties: [{key}]}}"
    return one_of(key, known)


def _name_expected(name: str, known: Sequence[str]) -> str:
    """What a message may name instead, or what it would take."""
    if name in OF_PREDICTION:
        return f"the key prediction (whose {name} it is), or one of {', '.join(known)}"
    if name in OF_OFFER:
        return f"the key offer beside it, or one of {', '.join(known)}"
    return f"{one_of(name, known)}; a trait is user.TRAIT"
