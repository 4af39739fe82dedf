"""The language of messages: Jinja that can name what it is given, and nothing else, in bounded time and size.

A template is written by whoever makes campaigns, and rendered millions of times beside other people's data. So it is a
language of its own: texts, values, `if`, `for`, `set`, some filters and `range`; no other calls, no attributes of
objects, no includes, no macros, no lists of lists. Loops and filters share a number of steps, and no text grows beyond
a bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import floor
from typing import Any, Final, NoReturn

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_STEPS: Final = 5_000
"""Rounds of loops, filters, sums, comparisons and values of lists that are looked up, of one part together."""
MAX_TEXT: Final = 10_000
"""Characters of a text, and elements of a list, made on the way."""
_FILTERS: Final = {
    **dict.fromkeys(("abs", "capitalize", "count", "e", "escape", "first", "items", "last", "length", "list"), 0),
    **dict.fromkeys(("lower", "max", "min", "reverse", "sum", "title", "tojson", "trim", "unique", "upper"), 0),
    **dict.fromkeys(("float", "int", "join", "round", "sort", "urlencode"), 1),
    **dict.fromkeys(("d", "default", "truncate"), 3),
}
"""Filter -> how many arguments it may have: short constants, but for `default`, which is given any value."""
_UNAWARE: Final = ("abs", "round", "tojson")
"""Filters that would tell of a value that is not known in words of Python."""
_TESTS: Final = (
    *(
        "boolean",
        "defined",
        "divisibleby",
        "eq",
        "equalto",
        "even",
        "false",
        "ge",
        "gt",
        "in",
        "integer",
        "le",
        "lower",
    ),
    *("lt", "mapping", "ne", "none", "number", "odd", "sequence", "string", "true", "undefined", "upper"),
    *("==", "!=", "<", "<=", ">", ">="),
)
_ASKING: Final = ("d", "default", "defined", "undefined")
"""Filters and tests that a value may be given to that is not known."""
_LOOP: Final = frozenset(("index", "index0", "revindex", "revindex0", "first", "last", "length", "depth"))
_REFUSED: Final[tuple[type[nodes.Node], ...]] = (
    nodes.Macro,
    nodes.CallBlock,
    nodes.FilterBlock,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.AssignBlock,
    nodes.Dict,
    nodes.Pow,
)
STEPS: Final = "steps left"
_WHOSE: Final = {
    **dict.fromkeys(("user", "remembered", "score", "likelihood", "category"), " of this user"),
    "event": " of this event",
}
"""What a message may name -> whose it is."""


class Broken(TemplateError):
    """A bound was reached."""


class Unknown(StrictUndefined):
    """A value that is not known: whoever uses it fails, in words of messages and not of Jinja."""

    @property
    def _undefined_message(self) -> str:
        return self._undefined_hint or not_known(str(self._undefined_name))

    def named(self, path: str) -> Unknown:
        """The same, told by its name in the message, if it has none yet."""
        return self if self._undefined_hint is not None else Unknown(hint=not_known(path))


def not_known(path: str) -> str:
    """That a value is not known, by its name in the message (`remembered.basket`)."""
    of = _WHOSE.get(path.partition(".")[0], "")
    return f"{path!r} is not known{of} (use default, or if)"


class Environment(SandboxedEnvironment):
    """Values are reached by their keys, and what arithmetic makes has a bound."""

    intercepted_binops = frozenset(("*", "+", "%"))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Unknown):
            return obj  # what is told is what was not known first
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, LoopContext) and attribute in _LOOP:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        for each in (obj, argument):
            if isinstance(each, Unknown):
                return each
        if isinstance(obj, Mapping | list | tuple | str):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                return self.undefined(obj=obj, name=argument)
        return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator != "+" and any(isinstance(each, str | list | tuple) for each in (left, right)):
            raise Broken(f"{operator} is for numbers")
        return _sized(context, super().call_binop(context, operator, left, right))

    def handle_exception(self, source: str | None = None) -> NoReturn:  # noqa: ARG002 - Jinja's signature
        raise  # noqa: PLE0704 - called while one is handled; Jinja would rewrite its traceback, which is slow


def _step(context: Context) -> None:
    left: list[int] = context[STEPS]
    left[0] -= 1
    if left[0] < 0:
        raise Broken(f"more than {MAX_STEPS:,} rounds of loops and filters")


@pass_context
def _sized(context: Context, value: Any) -> Any:
    """A value that was made, if it is not too large."""
    _step(context)
    if isinstance(value, str | list | tuple) and len(value) > MAX_TEXT:
        raise Broken(f"a text or list of more than {MAX_TEXT:,}")
    if isinstance(value, int) and abs(value) > 10**18:
        raise Broken("a number of more than 18 digits")
    return value


@pass_context
def _counted(context: Context, values: Any) -> Iterator[Any]:
    """What a loop goes over, as long as there are steps left."""
    for value in values:
        _step(context)
        yield value


@pass_context
def _stepped(context: Context, value: Any, path: str | None = None) -> Any:
    """A value that was looked up or compared. `path`: as it is written, told if the value is not known."""
    _step(context)
    return value.named(path) if path is not None and isinstance(value, Unknown) else value


def _known(value: Any) -> Any:
    """A value that is given to what would not notice that it is not known."""
    if isinstance(value, Unknown):
        str(value)  # fails, in its words
    return value


@pass_context
def _searched(context: Context, value: Any) -> Any:
    """What `in` looks through: in long texts and lists it takes longer."""
    for _ in range(1 + len(value) // 64 if isinstance(value, str | list | tuple | Mapping | range) else 1):
        _step(context)
    return value


def _shown(value: Any) -> Any:
    """What stands in a text: nobody gets "Hello None"."""
    if value is None:
        raise Broken("a value that is none cannot be shown (use default, or if)")
    return value


def _round(value: Any, precision: int = 0) -> Any:
    """As people round: half goes up, and without decimals it is a whole number (56, not 56.0)."""
    return floor(value + 0.5) if precision == 0 else round(value, precision)


def _range(*ends: int) -> range:
    found = range(*(int(end) for end in ends))
    if found and abs(found[-1] - found[0]) > MAX_STEPS * abs(found.step):
        raise Broken(f"a range of more than {MAX_STEPS:,}")
    return found


class Checked(NodeTransformer):
    """Refuses what a message cannot have, and counts what could be long."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """Of every node."""
        wrong = _wrong(node)
        if wrong is not None:
            raise TemplateSyntaxError(wrong, node.lineno)
        path = _path(node)
        super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For):
            node.iter = _filtered(node.iter, "_counted")
        if isinstance(node, nodes.If):
            node.test = _filtered(node.test, "_stepped")
        if isinstance(node, nodes.Operand) and node.op in ("in", "notin"):
            node.expr = _filtered(node.expr, "_searched")
        if isinstance(node, nodes.Filter) and node.name in _UNAWARE and node.node is not None:
            node.node = _filtered(node.node, "_known")
        if isinstance(node, nodes.Concat | nodes.Filter):
            return _filtered(node, "_sized")
        if isinstance(node, nodes.Getitem | nodes.Getattr) and node.ctx == "load":
            return _filtered(node, "_stepped", [] if path is None else [nodes.Const(path)])
        return _filtered(node, "_stepped") if isinstance(node, nodes.Compare) else node


def _path(node: nodes.Node) -> str | None:
    """A value by its name, with dots; None of what has no name, or is looked up by what is no constant."""
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr):
        key = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        key = str(node.arg.value)
    else:
        return None
    before = _path(node.node)
    return None if before is None else f"{before}.{key}"


def _wrong(node: nodes.Node) -> str | None:
    """Why a message cannot have this."""
    if isinstance(node, _REFUSED) or (isinstance(node, nodes.For) and node.recursive):
        return f"{type(node).__name__.lower()} is not for messages"
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
        return "the only call that is known is range(...)"
    # A list of lists of lists would be short to write and endless to print.
    if isinstance(node, nodes.List) and not all(isinstance(item, nodes.Const) for item in node.items):
        return "a list may hold constants only"
    if isinstance(node, nodes.Tuple) and node.ctx == "load":
        return "tuples are not for messages; a list is written [1, 2]"
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        return f"unknown test {node.name!r}"
    return _wrong_filter(node) if isinstance(node, nodes.Filter) else None


def _wrong_filter(node: nodes.Filter) -> str | None:
    if node.name not in _FILTERS:
        return f"unknown filter {node.name!r}; known: {', '.join(sorted(_FILTERS))}"
    given = [*node.args, *(each.value for each in node.kwargs)]
    if node.dyn_args is not None or node.dyn_kwargs is not None or len(given) > _FILTERS[node.name]:
        return f"{node.name} takes at most {_FILTERS[node.name]} arguments here"
    if node.name not in ("d", "default") and not all(isinstance(each, nodes.Const) and _short(each) for each in given):
        return f"arguments of {node.name} are constants: numbers up to 1000, texts of up to 100 characters"
    return None


def _short(constant: nodes.Const) -> bool:
    value = constant.value
    return len(value) <= 100 if isinstance(value, str) else not isinstance(value, int | float) or abs(value) <= 1_000


def _filtered(node: nodes.Node, name: str, given: Sequence[nodes.Expr] = ()) -> nodes.Filter:
    return nodes.Filter(node, name, list(given), [], None, None, lineno=node.lineno)


def names(tree: nodes.Template) -> dict[str, int]:
    """What a template names and does not set itself -> the first line that does.

    Without what it asks for by `is defined` or `default`. The tree is one that was parsed, and is looked at; it is
    changed, as by `Checked`.
    """
    lines: dict[str, int] = {}
    own = {_root(each.node) for each in tree.find_all((nodes.Test, nodes.Filter)) if each.name in _ASKING}
    for name in tree.find_all(nodes.Name):
        lines[name.name] = min(name.lineno, lines.get(name.name, name.lineno))
        if name.ctx != "load":
            own.add(name.name)
    # Checked first: to look for names Jinja computes constants, which without bounds could be endless.
    found = find_undeclared_variables(Checked().visit(tree))
    return {name: lines[name] for name in sorted(found - own, key=lambda each: (lines[each], each))}


def keys(tree: nodes.Template, of: Collection[str]) -> dict[tuple[str, str], int]:
    """(name, key) that a template looks up in these names -> the first line that does.

    Without names that it sets itself, and those of which it asks anything by `is defined` or `default`.
    """
    own = {_root(each.node) for each in tree.find_all((nodes.Test, nodes.Filter)) if each.name in _ASKING}
    own |= {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    found: dict[tuple[str, str], int] = {}
    looked_up = [(each.node, each.attr, each.lineno) for each in tree.find_all(nodes.Getattr)]
    looked_up += [(each.node, _text_of(each.arg), each.lineno) for each in tree.find_all(nodes.Getitem)]
    for node, key, line in looked_up:
        if isinstance(node, nodes.Name) and node.name in of and node.name not in own and key:
            found[node.name, key] = min(line, found.get((node.name, key), line))
    return found


def _text_of(node: nodes.Node) -> str:
    """Of a constant; empty for anything else."""
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else ""


def _root(node: nodes.Node | None) -> str | None:
    """The name that a value is looked up under."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def environment(*, autoescape: bool) -> Environment:
    """Where templates are compiled; `autoescape` for HTML."""
    environment = Environment(undefined=Unknown, autoescape=autoescape, finalize=_shown)
    environment.globals.clear()
    environment.globals["range"] = _range
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    environment.filters |= {"_counted": _counted, "_sized": _sized, "_stepped": _stepped, "_searched": _searched}
    environment.filters |= {"_known": _known, "round": _round}
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment
