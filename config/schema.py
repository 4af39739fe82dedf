"""The JSON schema of a catalog, for editors, and the tables of its keys in docs/catalog.md.

Both come from the types. ``python -m config.schema DOCS`` (``make schema``) writes them; a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from config import (
    campaigns,
    catalog,
    catalog_file,
    conditions,
    features,
    filters,
    goals,
    inputs,
    journeys,
    offers,
    predictions,
    times,
)
from config.base import Model
from config.campaigns import Rules
from config.catalog_file import CatalogFile
from config.durations import format_duration
from config.offers import Terms

__all__ = ["COMMON", "TYPES", "json_schema", "key_table", "write_docs"]

_MODULES = (
    catalog_file, catalog, conditions, features, filters, goals, inputs, predictions,
    campaigns, journeys, offers, times,
)  # fmt: skip
TYPES: dict[str, type[Model]] = {
    name: type_
    for module in _MODULES
    for name, type_ in vars(module).items()
    if isinstance(type_, type) and issubclass(type_, Model) and type_ is not Model
}
"""All that a catalog file is made of, by name."""
COMMON: tuple[type[Model], ...] = (Rules, Terms)
"""What several types are made of."""

SCHEMA_FILE = "catalog.schema.json"
TABLES_FILE = "catalog.md"


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of what a person writes: keys as in the YAML, durations as text with a unit.

    It knows names, types and bounds of single values; what one part says about another is known by the loader alone.
    """
    schema = CatalogFile.model_json_schema(by_alias=True, mode="validation")
    tidy: dict[str, Any] = _tidy(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **tidy, "title": "Tideline catalog"}


def _tidy(node: Any) -> Any:
    """The schema without what only pydantic needs: made-up titles, null defaults, durations in seconds."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A title that is a mapping is a key of that name below `properties`, not an annotation.
    kept = {key: _tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if "default" in kept:
        kept["default"] = _as_written(kept["default"], kept)
        if kept["default"] is None or isinstance(kept["default"], dict):
            del kept["default"]
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    return kept


def _as_written(default: Any, schema: dict[str, Any]) -> Any:
    is_duration = isinstance(default, float) and "smhdw" in json.dumps(schema)
    return format_duration(default) if is_duration else default


def key_table(model: type[Model]) -> str:
    """A Markdown table of the keys of one type: name, what it is when left out, what it means.

    Keys that several types have in common are in a table of their own.
    """
    lines = ["| key | left out | meaning |", "| --- | --- | --- |"]
    elsewhere = next((base.model_fields for base in COMMON if issubclass(model, base) and model is not base), {})
    for name, field in model.model_fields.items():
        if name in elsewhere:
            continue
        lines.append(f"| `{field.alias or name}` | {_default(name, field)} | {field.description} |")
    return "\n".join(lines)


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, Model):
        own = value.model_dump(mode="json", by_alias=True)
        small = len(own) <= 2 and not any(key.endswith("_s") for key in type(value).model_fields)
        return (
            "`{" + ", ".join(f"{key}: {_number(item)}" for key, item in own.items()) + "}`" if small else "all defaults"
        )
    if name.endswith("_s"):
        return f"`{format_duration(value)}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(_number(item) for item in value) + "]`"
    return f"`{_number(value)}`"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_docs(text: str) -> str:
    """The text of docs/catalog.md with every table of keys made anew: what follows ``<!-- keys: Prediction -->``."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{key_table(TYPES[match[2]])}\n"

    return re.sub(r"(<!-- keys: (\w+) -->)\n(?:\|.*\n)*", table, text)


def main(folder: Path) -> None:
    """Write both files below ``folder``."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    (folder / SCHEMA_FILE).write_text(schema, encoding="utf-8")
    tables = folder / TABLES_FILE
    tables.write_text(write_docs(tables.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
