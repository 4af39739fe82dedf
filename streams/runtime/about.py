"""What a run is of: its catalog and its files, stored with its commits.

A store needs it to be read without the catalog file, and a run that goes on needs the same files, each with the clock
at which it was first read (an event of the future is refused by it).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from config.catalog import Catalog
from config.durations import format_duration
from config.errors import StoreIncompatible
from streams.adapters.files import FileInfo

CATALOG_BLOB, RUN_BLOB = "catalog", "run"
_MAX_DIFFERENCES = 8
_DURATIONS = {"window", "lookback", "min_dwell", "within", "session_gap", "max_ahead", "lateness"}


class InputFile(msgspec.Struct, frozen=True):
    """One file as it was when the run began to read it. Times are seconds since 1970 UTC."""

    name: str
    rows: int
    size_bytes: int
    digest: str
    """Of its content."""
    content_bytes: int
    """Of the content, unpacked and as UTF-8."""
    now_s: float
    """The clock at the run's first start with it."""
    first_time_s: float | None = None
    last_time_s: float | None = None

    @classmethod
    def of(cls, file: FileInfo) -> InputFile:
        """As the first pass found it. The name is kept without its folder: it is only for messages."""
        return cls(
            Path(file.name).name,
            file.rows,
            file.size_bytes,
            file.digest,
            file.content_bytes,
            file.now_s,
            None if isnan(file.first_time_s) else file.first_time_s,
            None if isnan(file.last_time_s) else file.last_time_s,
        )


class Run(msgspec.Struct, frozen=True):
    """What a run has read so far: the files whose rows its state depends on, in their order."""

    files: tuple[InputFile, ...]

    @property
    def rows(self) -> int:
        """Of these files, also those that are still to be read."""
        return sum(file.rows for file in self.files)

    @property
    def first_time_s(self) -> float | None:
        """Of all rows that can be used; None if there is none."""
        return min((file.first_time_s for file in self.files if file.first_time_s is not None), default=None)

    @property
    def last_time_s(self) -> float | None:
        """Likewise."""
        return max((file.last_time_s for file in self.files if file.last_time_s is not None), default=None)


def run_blobs(run: Run) -> dict[str, bytes]:
    """The named bytes that a replay stores when it begins to read files."""
    return {RUN_BLOB: msgspec.json.encode(run)}


def about_blobs(catalog: Catalog) -> dict[str, bytes]:
    """The named bytes that a replay stores with its first commit."""
    return {CATALOG_BLOB: catalog.model_dump_json(by_alias=True).encode()}


def stored_catalog(blobs: Mapping[str, bytes]) -> Catalog:
    """The catalog that a store was made with. Raises StoreIncompatible when there is none or it cannot be read."""
    data = blobs.get(CATALOG_BLOB)
    if data is None:
        raise StoreIncompatible("the store does not say which catalog it was made with: it has no finished commit yet")
    try:
        return Catalog.model_validate_json(data)
    except ValidationError as error:
        raise StoreIncompatible(
            f"the store was made with a catalog that this version of Tideline does not read ({error.error_count()} "
            "problems); use the version that made it, or start anew"
        ) from error


def stored_run(blobs: Mapping[str, bytes]) -> Run | None:
    """What a store says of its input; None before the first commit, or if it was not made from files."""
    data = blobs.get(RUN_BLOB)
    return None if data is None else msgspec.json.decode(data, type=Run)


def catalog_differences(old: Catalog, new: Catalog) -> list[str]:
    """What has changed from one catalog to another, a line each: `predictions.orders_7d.window: 7d, now 14d`."""
    lines = _differences("", old.model_dump(mode="json", by_alias=True), new.model_dump(mode="json", by_alias=True))
    if len(lines) > _MAX_DIFFERENCES:
        rest = len(lines) - _MAX_DIFFERENCES
        lines = [*lines[:_MAX_DIFFERENCES], f"and {rest} more"]
    return lines


def _differences(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in dict.fromkeys([*old, *new]):
            place = f"{path}.{key}" if path else str(key)
            if key not in new:
                lines.append(f"{place}: removed")
            elif key not in old:
                lines.append(f"{place}: new")
            else:
                lines += _differences(place, old[key], new[key])
        if not lines and list(old) != list(new):
            lines.append(f"{path}: in another order")
        return lines
    return [] if old == new else [f"{path}: {_value(path, old)}, now {_value(path, new)}"]


def _value(path: str, value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float) and path.rpartition(".")[2] in _DURATIONS:
        return format_duration(value)
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
