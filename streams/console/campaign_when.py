"""When a campaign goes out, in the words of a language: its trigger, and the next of its times."""

from __future__ import annotations

from typing import NamedTuple

from config.campaigns import Campaign, Rules
from config.times import EventTrigger, OnceTrigger, RecurringTrigger
from streams.console.language import Format
from streams.console.texts import Texts
from streams.console.trigger_form import TriggerForm

_STANDING = ("paused", "archived")


class When(NamedTuple):
    """What a page says of it."""

    words: str
    """Of the trigger."""
    is_timed: bool
    """Whether it has times of its own, of which one may be the next."""
    no_next: str
    """Why none is the next, where none is."""


def when_of(texts: Texts, form: Format, rules: Rules, status: str) -> When:
    """Of a campaign or journey. `status`: as the API tells it."""
    no_next = texts.next_time_paused if status in _STANDING else texts.next_time_none
    if not isinstance(rules, Campaign):
        return When(texts.campaign_triggers["enter"], False, no_next)
    trigger = rules.trigger
    kind = TriggerForm.of_trigger(trigger).kind
    words = texts.campaign_triggers[kind]
    match trigger:
        case EventTrigger():
            words = texts.trigger_with.format(trigger=words, detail=trigger.event)
        case RecurringTrigger():
            words = texts.trigger_with.format(trigger=words, detail=_regularly(texts, form, trigger))
        case _:
            pass
    return When(words, isinstance(trigger, OnceTrigger | RecurringTrigger), no_next)


def _regularly(texts: Texts, form: Format, trigger: RecurringTrigger) -> str:
    """`every week, Monday, Friday, 10:00 (Europe/Paris)`."""
    days = [texts.weekdays[str(day)] if trigger.every == "week" else _day(form, day) for day in trigger.on]
    return f"{', '.join([texts.trigger_periods[trigger.every], *days, trigger.at])} ({trigger.timezone})"


def _day(form: Format, day: str | float | bool) -> str:
    """A day of the month."""
    return form.first_day if day == 1 else str(day)
