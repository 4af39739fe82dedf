"""Sinks and a courier that keep what they are given in this process, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from streams.ports import Message, OutboxEntry


class ListSink:
    """Keeps every transition once, in order, told apart by its bytes (the same transition has the same bytes)."""

    def __init__(self) -> None:
        self.published: list[bytes] = []
        self._seen: set[bytes] = set()

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        for _, data in entries:
            if data not in self._seen:
                self._seen.add(data)
                self.published.append(data)

    def close(self) -> None:
        """Nothing is held that would have to be given back."""


class NullSink:
    """Publishes to nobody: for runs whose transitions are read from the store's outbox."""

    def publish(self, entries: Sequence[OutboxEntry]) -> None:
        """Every entry counts as published."""

    def close(self) -> None:
        """Nothing is held that would have to be given back."""


class ListCourier:
    """Keeps every message as often as it is given, in order."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += messages
