"""YAML as plain data with marks: what stands where.

YAML is read without surprises: no anchors, aliases or tags, no key twice, keys are always text, ``yes``, ``no``, ``on``
and dates are text, numbers with leading zeros or more than 18 digits are text, and the depth is bounded.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import yaml

from config.errors import CatalogError, Problem

MAX_DEPTH = 48
# Begins the tags in pydantic's locations (`config.base.branch`), so no key of the text may begin with it.
TAG = "~"

Location: TypeAlias = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Composes nodes with the few implicit types of YAML 1.2; building the values is ours."""


_DIGITS = r"(0|[1-9](_?[0-9]){0,17})"
_Loader.yaml_implicit_resolvers = {}
for _type, _pattern, _first in (
    ("bool", r"true|false|True|False|TRUE|FALSE", ["t", "f", "T", "F"]),
    ("int", rf"[-+]?{_DIGITS}", list("-+0123456789")),
    ("float", rf"[-+]?({_DIGITS}?\.[0-9]+|{_DIGITS}\.?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", ["-", "+", "."]),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(f"^(?:{_pattern})$"), _first)


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice, and puts text into quotes that `_Loader` would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # In any other style line ends that are not \n are folded into blanks.
    style = None if _is_printable(value) else "|" if _is_of_lines(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


def _is_of_lines(text: str) -> bool:
    """Whether it can stand line by line, as people write texts of messages, and be read as it was."""
    return text[0] not in " \n" and all(_is_printable(line) and not line.endswith(" ") for line in text.split("\n"))


def _is_printable(line: str) -> bool:
    """With the spaces of French print, which stand before marks and Python counts among those that do not show."""
    return line.translate(_FRENCH_SPACES).isprintable()


_FRENCH_SPACES: Final = dict.fromkeys((0x00A0, 0x202F), " ")


_Dumper.add_representer(str, _text)
_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def dump(data: Any) -> str:
    """Plain data as a text that `compose` and `build` read as the same data again."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def compose(text: str, source: str) -> yaml.Node:
    """The tree of nodes of one document. Raises CatalogError with the line for what is not plain YAML."""
    try:
        # Events first: composing is recursive, so the depth must be known, and aliases make bombs.
        _check_events(text, source)
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found = " ".join(part for part in (error.context, error.problem) if part)
        raise refused(source, mark.line + 1 if mark else None, found or "broken YAML", "valid YAML") from error
    except yaml.YAMLError as error:
        raise refused(source, None, " ".join(str(error).split()), "valid YAML") from error
    if node is None:
        raise refused(source, 1, "an empty file", "a catalog, beginning with version: 1")
    return node


def refused(source: str, line: int | None, found: str, expected: str) -> CatalogError:
    """The error for a text that cannot be looked at as a whole."""
    return CatalogError([Problem(line, "", found, expected)], source)


def _check_events(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:  # an alias has its anchor's name
            raise refused(source, line, f"the anchor or alias {event.anchor!r}", "the value itself, written out")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise refused(source, line, f"the tag {event.tag}", "a plain value")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise refused(source, line, f"more than {MAX_DEPTH} levels inside each other", "a flatter text")


def build(node: yaml.Node) -> tuple[Any, list[Problem]]:
    """The plain value of a node, and what is wrong with its keys."""
    problems: list[Problem] = []
    return _value(node, (), problems), problems


def _value(node: yaml.Node, location: Location, problems: list[Problem]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, location, problems)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*location, index), problems) for index, item in enumerate(node.value)]
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return None if kind == "null" else text


def _mapping(node: yaml.MappingNode, location: Location, problems: list[Problem]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":null"):
            problems.append(Problem(line, path_text(location), "a key that is not text", "a name"))
            continue
        key = str(key_node.value)  # a key such as 1997 or true is the text that stands there
        if key.startswith(TAG):
            problems.append(Problem(line, path_text(location), f"the key {key!r}", f"a key that begins without {TAG}"))
        if key in result:
            problems.append(Problem(line, path_text((*location, key)), "the same key twice", "each key once"))
        result[key] = _value(value_node, (*location, key), problems)
    return result


def line_of(node: yaml.Node, location: Location) -> int:
    """Line (from 1) of the deepest part of the location that is in the text; a value's line is that of its key."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return int(line)


def lines_of(node: yaml.Node) -> dict[Location, int]:
    """The line (from 1) of every part of the tree; a value's line is that of its key."""
    lines: dict[Location, int] = {}
    waiting: list[tuple[yaml.Node, Location]] = [(node, ())]
    while waiting:
        inner, location = waiting.pop()
        lines.setdefault(location, inner.start_mark.line + 1)
        if isinstance(inner, yaml.MappingNode):
            for key, value in inner.value:
                lines[*location, str(key.value)] = key.start_mark.line + 1
                waiting.append((value, (*location, str(key.value))))
        elif isinstance(inner, yaml.SequenceNode):
            waiting += [(item, (*location, index)) for index, item in enumerate(inner.value)]
    return lines


def path_text(location: Location) -> str:
    """``predictions.orders_7d.goal.any[1].did``; a name with a dot or a blank is quoted."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text
