"""A service that tells the worker when it cannot go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mode import Service


def _unheard(error: BaseException) -> None:
    raise RuntimeError("nobody listens to failures of this service") from error


class ReportingService(Service):
    """Calls `on_failure` with what stopped it."""

    abstract = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.on_failure: Callable[[BaseException], None] = _unheard

    async def crash(self, reason: BaseException) -> None:
        """See mode's Service."""
        self.on_failure(reason)
        await super().crash(reason)
