"""Where the logs under contract are."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

from config.settings import Settings

PARTITIONS: Final = 3
LogPlace: TypeAlias = Path | Settings | None
"""A folder that is not there yet; a Kafka that has its topics; or nowhere but in memory."""
