"""Catalogs and their parts as a person writes them: durations as text, bare values, nothing that is a default."""

from __future__ import annotations

from typing import Any

from config.base import Model
from config.campaigns import Reentry
from config.catalog import Catalog, Equals, TraitLimit
from config.durations import format_duration
from config.sections import Sections
from config.yaml_text import dump

__all__ = ["to_yaml", "written", "written_sections"]


def written(model: Model) -> dict[str, Any]:
    """Plain data (JSON) that is read as the same model again."""
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if field.is_required() or value != field.get_default(call_default_factory=True, validated_data={}):
            found[field.alias or name] = format_duration(value) if name.endswith("_s") else _plain(value)
    return found


def to_yaml(catalog: Catalog) -> str:
    """The text of a catalog file."""
    data = written(catalog)
    if catalog.input.format != "segment":
        data["input"]["format"] = catalog.input.format
    return dump(data | written_sections(catalog.sections))


def written_sections(sections: Sections) -> dict[str, Any]:
    """What a file says of campaigns; no key where it says nothing."""
    found: dict[str, Any] = {} if sections.messaging is None else {"messaging": written(sections.messaging)}
    for name, group in (("campaigns", sections.campaigns), ("journeys", sections.journeys)):
        if group:
            found[name] = {id_: written(each) for id_, each in group.items()}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Equals):
        return value.value
    if isinstance(value, TraitLimit):
        return {"limit": value.limit}  # by its key it is told from other kinds
    if isinstance(value, Model):
        return _reentry(value) if isinstance(value, Reentry) else written(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _reentry(value: Reentry) -> str:
    if value.after_s is None:
        return "once"
    return format_duration(value.after_s) if value.after_s else "always"
