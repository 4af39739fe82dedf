"""A campaign or journey in a file: its definition alone, or as in a catalog with its segment (so templates come)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from streams.client import CampaignKind

_GROUPS = ("campaigns", "journeys")


class Written(NamedTuple):
    """What stands in a file."""

    kind: CampaignKind
    id: str | None
    """None: a definition alone that does not say it."""
    definition: dict[str, Any]
    segment: dict[str, Any] | None
    """The definition of its segment, if that stands beside it."""


def written_in(file: Path) -> Written:
    """Raises ConfigError (it cannot be read) and CatalogError (it is no YAML of one definition)."""
    from config.errors import CatalogError, Problem

    data = _mapping_of(file)
    groups = [group for group in _GROUPS if group in data]
    if not groups:
        id_ = data.pop("id", None)
        return Written("journey" if "steps" in data else "campaign", None if id_ is None else str(id_), data, None)
    found = [(group, id_, each) for group in groups for id_, each in _mapping(data[group]).items()]
    if len(found) != 1 or not isinstance(found[0][2], dict):
        words = ", ".join(str(id_) for _, id_, _ in found) or "none"
        raise CatalogError([Problem(None, groups[0], words, "one campaign or journey")], str(file))
    ((group, id_, definition),) = found
    segment = _mapping(data.get("segments")).get(str(definition.get("segment")))
    kind: CampaignKind = "journey" if group == "journeys" else "campaign"
    return Written(kind, str(id_), definition, segment if isinstance(segment, dict) else None)


def _mapping(data: Any) -> dict[Any, Any]:
    """Empty for anything else."""
    return data if isinstance(data, dict) else {}


def _mapping_of(file: Path) -> dict[str, Any]:
    """Raises ConfigError (it cannot be read) and CatalogError (it is no YAML of a mapping)."""
    from config.errors import CatalogError, ConfigError, Problem
    from config.yaml_text import build, compose

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    data, problems = build(compose(text, str(file)))
    if problems:
        raise CatalogError(problems, str(file))
    if not isinstance(data, dict):
        raise CatalogError(
            [Problem(None, "", type(data).__name__, "the definition of a campaign or journey")], str(file)
        )
    return data
