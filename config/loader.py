"""From YAML text to a ``Catalog``, or to every problem with its line, path, what was found and what was expected.

YAML is read as data without surprises: no anchors, aliases or tags, no key twice, ``yes``/``no``/``on`` and dates are text,
numbers with leading zeros are text, and size and depth are bounded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.catalog import Catalog
from config.checks import Location, check, suggest
from config.errors import CatalogError, Problem

__all__ = ["MAX_BYTES", "load_catalog", "loads"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 48
MAX_PROBLEMS = 100


class _Loader(yaml.SafeLoader):
    """Composes nodes with YAML 1.2's few implicit types; building the values is ours."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|false|True|False|TRUE|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?((0|[1-9][0-9_]*)?\.[0-9]+|(0|[1-9][0-9_]*)\.?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first) + ([""] if _tag == "null" else []))


def load_catalog(path: Path | str) -> Catalog:
    """Read a catalog file. Raises CatalogError with every problem found."""
    source = str(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise _refused(source, None, "no such file", "a catalog in YAML") from error
    except OSError as error:
        raise _refused(source, None, f"a file that cannot be read ({error.strerror})", "a catalog in YAML") from error
    try:
        return loads(data.decode("utf-8-sig"), source)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(source, line, f"byte 0x{data[error.start]:02x}, which is not UTF-8", "text in UTF-8") from error


def loads(text: str, source: str = "catalog") -> Catalog:
    """A catalog from YAML text. ``source`` names it in messages. Raises CatalogError with every problem found."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise _refused(source, None, f"{size} bytes", f"at most {MAX_BYTES} bytes")
    node = _compose(text, source)
    data, problems = _Builder().build(node)
    context: dict[int, Any] = {}
    if not problems:
        try:
            catalog = Catalog.model_validate(data, context=context)
        except ValidationError as error:
            problems = [_problem(detail, data, node, context) for detail in error.errors(include_url=False)]
        else:
            problems = [
                Problem(_line(node, where), _path(where), found, expected) for where, found, expected in check(catalog)
            ]
            if not problems:
                return catalog
    problems.sort(key=lambda problem: problem.line or 0)
    raise CatalogError(problems[:MAX_PROBLEMS], source)


def _refused(source: str, line: int | None, found: str, expected: str) -> CatalogError:
    return CatalogError([Problem(line, "", found, expected)], source)


def _compose(text: str, source: str) -> yaml.Node:
    """The tree of nodes. Depth and aliases are looked at first: composing is recursive and aliases make bombs."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _refused(source, line, "an anchor or alias (& or *)", "the value itself, written out")
            if getattr(event, "tag", None):
                raise _refused(source, line, f"the tag {event.tag}", "a plain value")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _refused(source, line, f"more than {MAX_DEPTH} levels inside each other", "a flatter text")
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found = " ".join(part for part in (error.context, error.problem) if part)
        raise _refused(source, mark.line + 1 if mark else None, found or "broken YAML", "valid YAML") from error
    except yaml.YAMLError as error:
        raise _refused(source, None, str(error), "valid YAML") from error
    if node is None:
        raise _refused(source, 1, "an empty file", "a catalog, beginning with version: 1")
    return node


class _Builder:
    """Plain values from nodes; keys that are not text or come twice are problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node) -> tuple[Any, list[Problem]]:
        return self._value(node, ()), self.problems

    def _value(self, node: yaml.Node, location: Location) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, index)) for index, item in enumerate(node.value)]
        kind, text = node.tag.rpartition(":")[2], str(node.value)
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text.replace("_", ""))
        if kind == "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
        return None if kind == "null" else text

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.rpartition(":")[2] == "null":
                self.problems.append(Problem(line, _path(location), "a key that is not text", "a name"))
                continue
            key = str(key_node.value)  # a key such as 1997 or true is the text that stands there
            if key in result:
                self.problems.append(Problem(line, _path((*location, key)), "the same key twice", "each key once"))
            result[key] = self._value(value_node, (*location, key))
        return result


def _problem(detail: ErrorDetails, data: Any, node: yaml.Node, context: dict[int, Any]) -> Problem:
    location = tuple(part for part in detail["loc"] if not str(part).startswith("~"))
    key_only = location[-1:] == ("[key]",)
    if key_only:
        location = location[:-1]
    found, expected = _words(detail, location, data, context)
    if key_only:
        found = f"the name {location[-1]!r}"
    return Problem(_line(node, location), _path(location), found, expected)


def _words(detail: ErrorDetails, location: Location, data: Any, context: dict[int, Any]) -> tuple[str, str]:
    """What was found and what was expected, in words."""
    kind, given = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "nothing", f"the key {location[-1]!r}"
    if kind == "extra_forbidden":
        known = _known_keys(data, location, context)
        return f"the unknown key {location[-1]!r}", "one of " + ", ".join(known) + suggest(str(location[-1]), known)
    expected = detail["msg"]
    if kind == "expected":
        expected = str(given.get("expected", detail["msg"]))
    return _describe(detail["input"]), expected


def _known_keys(data: Any, location: Location, context: dict[int, Any]) -> list[str]:
    parent = data
    for part in location[:-1]:
        parent = parent[part]
    fields = context[id(parent)].model_fields
    return [field.alias or name for name, field in fields.items()]


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping with " + ", ".join(list(value)[:5]) if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _line(node: yaml.Node, location: Location) -> int:
    """Line of the deepest part of the location that is in the text, the key's line for a key."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return int(line)


def _path(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
