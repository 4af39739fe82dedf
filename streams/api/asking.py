"""Who asks, for bounds that hold for each key: known wherever a request is worked at, in its threads, too."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

KEY_ID: Final[ContextVar[str | None]] = ContextVar("key_id", default=None)
"""The id of the key of this request, set by whoever looks at the key; None where nobody has asked over HTTP."""
