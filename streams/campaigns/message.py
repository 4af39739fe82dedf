"""Messages, compiled when a plan is made, and rendered for one user."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import msgspec
from jinja2 import Template, TemplateSyntaxError

from config.campaigns import Message
from streams.campaigns.question import MessageFailed
from streams.campaigns.template_language import MAX_STEPS, STEPS, Broken, Checked, environment, keys, names

MAX_SIZE: Final = 200_000
"""Characters of one part."""
MAX_TEXTS: Final = 256 << 10
"""Bytes of all texts of a message as JSON: it has to fit into a record of the log."""
_PLAIN: Final = environment(autoescape=False)
_HTML: Final = environment(autoescape=True)


def _place(error: BaseException, template: Template, name: str) -> str:
    """`body, line 3`."""
    line: int | None = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _file(name):
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return name if line is None else f"{name}, line {line}"


def _file(name: str) -> str:
    return f"<message {name}>"


@dataclass(frozen=True, slots=True)
class CompiledMessage:
    """A message that can be rendered."""

    parts: Mapping[str, Template]
    by_channel: Mapping[str, Mapping[str, Template]]

    @classmethod
    def of(cls, message: Message) -> CompiledMessage:
        """Raises MessageFailed with the part and the line. Parts whose name ends with html are escaped as such."""
        own = {channel: _compiled(parts) for channel, parts in message.by_channel.items()}
        return cls(_compiled(message.parts), own)

    def render(self, channels: Iterable[str], context: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Channel -> part -> text. Raises MessageFailed with the part and the line."""
        found: dict[str, dict[str, str]] = {}
        known: dict[int, str] = {}
        for channel in channels:
            templates = {**self.parts, **self.by_channel.get(channel, {})}
            for name, template in templates.items():
                if id(template) not in known:
                    known[id(template)] = _render(name, template, context)
            found[channel] = {name: known[id(template)] for name, template in templates.items()}
        if len(msgspec.json.encode(found)) > MAX_TEXTS:
            raise MessageFailed(f"the texts of all channels together have more than {MAX_TEXTS:,} bytes")
        return found


def _compiled(parts: Mapping[str, str]) -> dict[str, Template]:
    return {name: _compile(name, source) for name, source in parts.items()}


def _compile(name: str, source: str) -> Template:
    chosen = _HTML if name.endswith("html") else _PLAIN
    try:
        tree = Checked().visit(chosen.parse(source))
        code = chosen.compile(tree, name, _file(name))
        return Template.from_code(chosen, code, dict(chosen.globals))
    except TemplateSyntaxError as error:
        raise MessageFailed(f"{name}, line {error.lineno}: {error.message}") from error
    except (RecursionError, SyntaxError, MemoryError) as error:
        raise MessageFailed(f"{name}: too deep") from error
    except Exception as error:
        raise MessageFailed(f"{name}: {_words(error)}") from error


def _render(name: str, template: Template, context: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate({**context, STEPS: [MAX_STEPS]}):
            size += len(piece)
            if size > MAX_SIZE:
                raise Broken(f"more than {MAX_SIZE:,} characters")
            pieces.append(piece)
    except Exception as error:
        raise MessageFailed(f"{_place(error, template, name)}: {_words(error)}") from error
    return "".join(pieces)


def _words(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__


def unknown_names(message: Message, known: Collection[str]) -> list[tuple[str, str]]:
    """Part and line, and name: what a message that can be compiled names, and is not among what it may ever know."""
    texts = [text for parts in (message.parts, *message.by_channel.values()) for text in parts.items()]
    return [
        (f"{part}, line {line}", name)
        for part, source in dict.fromkeys(texts)
        for name, line in names(_PLAIN.parse(source)).items()
        if name not in known
    ]


def unknown_keys(message: Message, known: Mapping[str, Collection[str]]) -> list[tuple[str, str, str]]:
    """Part and line, name and key: what a message looks up in a name that never has it."""
    texts = [text for parts in (message.parts, *message.by_channel.values()) for text in parts.items()]
    return [
        (f"{part}, line {line}", name, key)
        for part, source in dict.fromkeys(texts)
        for (name, key), line in keys(_PLAIN.parse(source), known).items()
        if key not in known[name]
    ]


class Messages:
    """Renders the messages of a plan, each of which is compiled once, when the plan is made."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._found = {id(message): (message, _compiled_or_why(message)) for message in messages}

    def render(
        self, message: Message, channels: Iterable[str], context: Mapping[str, Any]
    ) -> Mapping[str, Mapping[str, str]]:
        """See `decide.Render`. Raises KeyError for a message that is not of the plan."""
        _, found = self._found[id(message)]
        if isinstance(found, str):
            raise MessageFailed(found)
        return found.render(channels, context)


def _compiled_or_why(message: Message) -> CompiledMessage | str:
    """A message that cannot be compiled fails whenever it would be sent; the others of its plan go on."""
    try:
        return CompiledMessage.of(message)
    except MessageFailed as failed:
        return str(failed)
