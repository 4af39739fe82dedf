"""The reference, the schema for editors and the examples say what the types say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from config.loader import load_catalog, loads
from config.schema import TYPES, json_schema, write_docs
from config.yaml_text import build, compose

FULL = ("full_catalog.yaml", "full_campaigns.yaml")
# The same keys as a type that has a table, or keys that the text explains as one of several shapes.
WITHOUT_TABLE = {"MappedInput", "NdjsonInput", "AnyOfAtoms", "AllOfAtoms", "Catalog", "Reentry"}


@pytest.fixture(scope="module")
def reference(root: Path) -> str:
    return (root / "docs" / "catalog.md").read_text(encoding="utf-8")


def test_every_type_has_a_table_of_its_keys(reference: str) -> None:
    tables = re.findall(r"<!-- keys: (\w+) -->", reference)
    assert len(tables) == len(set(tables))
    assert set(tables) == set(TYPES) - WITHOUT_TABLE


def test_every_key_is_explained() -> None:
    missing = [
        f"{name}.{key}"
        for name, type_ in TYPES.items()
        for key, field in type_.model_fields.items()
        if not field.description
    ]
    assert not missing


def test_tables_are_up_to_date(reference: str) -> None:
    assert write_docs(reference) == reference, "run `make schema`"


def test_schema_is_up_to_date(root: Path) -> None:
    written = json.loads((root / "docs" / "catalog.schema.json").read_text(encoding="utf-8"))
    assert written == json_schema(), "run `make schema`"


def test_schema_is_a_schema_and_refuses_nonsense() -> None:
    Draft202012Validator.check_schema(json_schema())
    validator = Draft202012Validator(json_schema())
    assert not validator.is_valid({"version": 1, "name": "x", "predictions": {}})
    assert not validator.is_valid({"version": 1, "name": "x", "predictions": {"A": {}}})
    good = {"name": "P", "goal": {"did": "A"}, "window": "7d"}
    assert validator.is_valid({"version": 1, "name": "x", "predictions": {"a": good}})
    assert not validator.is_valid({"version": 1, "name": "x", "predictions": {"a": {**good, "window": 7}}})


def test_schema_speaks_of_durations_as_people_write_them() -> None:
    text = json.dumps(json_schema())
    assert '"default": "30m"' in text
    assert '"default": 1800' not in text


def test_examples_in_the_reference_load_and_fit_the_schema(reference: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", reference, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        loads(block)
        assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(block))) == []


@pytest.mark.parametrize("name", ["cdnow", "online_retail"])
def test_example_catalogs_load_and_fit_the_schema(name: str, root: Path) -> None:
    path = root / "examples" / name / "catalog.yaml"
    loaded = load_catalog(path)
    assert all(prediction.access == "live" for prediction in loaded.predictions.values())
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(Draft202012Validator(json_schema()).iter_errors(data)) == []


def test_the_full_catalogs_use_every_key() -> None:
    """A guard for the tests: a new key must enter the catalogs that other tests mutate and write."""
    text = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in FULL)
    keys = {field.alias or key for type_ in TYPES.values() for key, field in type_.model_fields.items()}
    unused = {key for key in keys if not re.search(rf"\b{key}:", text)}
    assert unused == {"constant", "decimal", "delimiter", "encoding", "after"}  # CSV's own, and what `reentry` says


@pytest.mark.parametrize("name", ["full_catalog.yaml", "full_campaigns.yaml"])
def test_the_full_catalogs_fit_the_schema(name: str) -> None:
    data, _ = build(compose(Path(__file__).with_name(name).read_text(encoding="utf-8"), name))
    assert list(Draft202012Validator(json_schema()).iter_errors(data)) == []
