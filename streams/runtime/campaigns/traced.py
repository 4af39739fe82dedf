"""Traces of campaigns: a span for each user of a batch whose crossing or event is part of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TypeAlias

from msgspec.structs import replace

from streams.campaigns.effects import SENT, Note, Out, Send
from streams.campaigns.inputs import Crossing, Input, Watched
from streams.runtime.traces import Span, Traces

_Key: TypeAlias = tuple[str, str, int]


class Contexts:
    """Of what was read in a round, by the input that it became."""

    def __init__(self) -> None:
        self._found: dict[_Key, str] = {}

    def note(self, each: Crossing | Watched, context: str | None) -> None:
        """It is part of this trace; None: of none."""
        if context is not None:
            self._found[_key(each)] = context

    def clear(self) -> None:
        """A new round."""
        self._found.clear()

    def by_user(self, inputs: Sequence[Input]) -> dict[str, str]:
        """User -> context of the first of the user's inputs that has one."""
        found: dict[str, str] = {}
        if self._found:
            for each in inputs:
                if isinstance(each, Crossing | Watched) and (context := self._found.get(_key(each))) is not None:
                    found.setdefault(each.user, context)
        return found


def _key(each: Crossing | Watched) -> _Key:
    return (
        (each.user, each.segment, each.sequence)
        if isinstance(each, Crossing)
        else (each.user, each.message_id, each.number)
    )


class TracedDecisions:
    """The spans of a batch, by user."""

    def __init__(self, spans: Mapping[str, Span]) -> None:
        self._spans = spans
        self._said: dict[str, list[str]] = {user: [] for user in spans}

    def mark(self, outs: Sequence[Out]) -> list[Out]:
        """The same, with messages of these users as parts of their traces."""
        return [self._marked(each) for each in outs]

    def _marked(self, each: Out) -> Out:
        span = self._spans.get(each.user) if isinstance(each, Send | Note) else None
        if span is None:
            return each
        if isinstance(each, Send):
            self._said[each.user].append(f"{each.campaign}: sent")
            return replace(each, traceparent=span.context)
        if isinstance(each, Note) and each.event != SENT:
            self._said[each.user].append(f"{each.properties['campaign']}: {each.properties['why']}")
        return each

    def end(self, error: str | None = None) -> None:
        """All is published, or failed by an error."""
        for user, span in self._spans.items():
            span.end(error, {"tideline.decisions": ", ".join(self._said[user])})


@contextmanager
def traced_decisions(traces: Traces, contexts: Contexts, inputs: Sequence[Input]) -> Iterator[TracedDecisions | None]:
    """Of one batch, which is worked in this context; None where nothing of it is traced."""
    traced = contexts.by_user(inputs)
    # An event that begins a campaign brings what its sender has said; transitions come bounded.
    spans = {
        user: span
        for user, context in islice(traced.items(), traces.take(len(traced)) if traced else 0)
        if (span := traces.begin("decide", parent=context, kind="consumer")) is not None
    }
    if not spans:
        yield None
        return
    decisions = TracedDecisions(spans)
    try:
        yield decisions
    except BaseException as error:
        decisions.end(type(error).__name__)
        raise
    decisions.end()
