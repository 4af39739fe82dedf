"""docs/asyncapi.yaml for tests, and what does not fit it."""

from __future__ import annotations

from typing import Any

import yaml
from jsonschema import Draft7Validator, FormatChecker

from tests.conftest import ROOT

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8"))


def resolved(reference: str) -> Any:
    """The part that `#/...` names. Raises KeyError."""
    part: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def refused(schema: str, data: Any) -> list[str]:
    """What of the data the schema does not take."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    found = Draft7Validator(whole, format_checker=FormatChecker()).iter_errors(data)
    return [f"{error.json_path}: {error.message}" for error in found]
