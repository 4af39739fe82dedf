"""How often the clients of Redis and Kafka have failed in this process; for metrics."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final, Literal

from config.errors import (
    BrokerError,
    BrokerUnavailable,
    StoreError,
    StoreFull,
    StoreIncompatible,
    StoreUnavailable,
    TidelineError,
)

Client = Literal["redis", "kafka"]
KINDS: Final[tuple[tuple[Client, type[TidelineError]], ...]] = (
    ("redis", StoreUnavailable),
    ("redis", StoreFull),
    ("redis", StoreIncompatible),
    ("redis", StoreError),
    ("kafka", BrokerUnavailable),
    ("kafka", BrokerError),
)
"""What is counted. An error counts as the first that it is."""


class ClientErrors:
    """Counts; threads share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, client: Client, error: TidelineError) -> None:
        """A client has failed by this."""
        kind = next(kind for its, kind in KINDS if its == client and isinstance(error, kind))
        with self._lock:
            self._counts[client, kind.__name__] += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """(client, name of the error) -> how often; of every kind."""
        with self._lock:
            return {(client, kind.__name__): self._counts[client, kind.__name__] for client, kind in KINDS}


CLIENT_ERRORS: Final = ClientErrors()
"""Of this process: a client is made in too many places to be handed one each."""
