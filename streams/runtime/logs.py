"""What a process that serves writes of itself: lines for people, or JSON for what collects logs; never a secret.

A line of JSON has `time` (RFC 3339, UTC), `level`, `logger`, `message`, for errors `error` with the traceback, and what
the call gave as `extra`: the ids by which one event is followed (docs/operations.md, Logs).
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TextIO
from urllib.parse import unquote

from pydantic import SecretStr

from config.settings import LogFormat, Settings

HIDDEN: Final = "***"
SHORTEST: Final = 4
"""A secret that is shorter is a word as others, and hides nothing if it is looked for."""
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What a record has without `extra`; the last one is uvicorn's, its message once more for a terminal, not filled in."""
_PASSWORDS: Final = re.compile(r"://[^/@]*?:([^/@]+)@|[?&;][a-z_]*password=([^&#]+)")
_LOG: Final = logging.getLogger("streams")


def secrets_of(settings: Settings) -> frozenset[str]:
    """What must not be logged, as it was given and as it stands in an address."""
    found = {value.get_secret_value() for value in _values(settings) if isinstance(value, SecretStr)}
    for pair in _PASSWORDS.findall(settings.redis_url or ""):
        found |= {text for password in pair for text in (password, unquote(password))}
    return frozenset(text for text in found if len(text) >= SHORTEST)


def _values(settings: Settings) -> Iterator[object]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        yield from value.values() if isinstance(value, dict) else (value,)


class _Hiding(logging.Formatter):
    """Whatever is formatted shows no secret."""

    def __init__(self, words: str | None, secrets: Iterable[str]) -> None:
        super().__init__(words)
        longest_first = sorted(secrets, key=len, reverse=True)  # one may be a part of another
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def hide(self, text: str) -> str:
        """The text without them."""
        return text if self._secrets is None else self._secrets.sub(HIDDEN, text)


class TextFormatter(_Hiding):
    """A line for people, with the ids behind it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(_TEXT, secrets)

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        return self.hide(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """See logging."""
        ids = " ".join(f"{name}={value}" for name, value in given_with(record).items())
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")


class JsonFormatter(_Hiding):
    """One object a line, whatever stands in it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(None, secrets)

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found: dict[str, object] = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.hide(record.getMessage()),
        }
        if record.exc_info:
            found["error"] = self.hide(self.formatException(record.exc_info))
        for name, value in given_with(record).items():
            found[name] = value if isinstance(value, bool | int | float | None) else self.hide(str(value))
        return json.dumps(found, ensure_ascii=False, allow_nan=True)


def given_with(record: logging.LogRecord) -> dict[str, object]:
    """What the call gave as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def is_json(chosen: LogFormat, stream: TextIO) -> bool:
    """Whether a stream gets JSON: `auto` is for people on a terminal and in a file, and JSON for a pipe or a socket."""
    if chosen != "auto":
        return chosen == "json"
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # no file at all: closed, or kept in memory
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class Logs:
    """The log of a process that serves, from `begin_logging`."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json

    def say(self, words: str) -> None:
        """What an operator has to know at the start; for JSON."""
        _LOG.info("%s", words)

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """Something that takes a while (`precompile.Steps`)."""
        _LOG.info("%s ...", words)
        yield


def begin_logging(settings: Settings, stream: TextIO | None = None) -> Logs:
    """From now on this process logs to `stream` (standard error): the only place that decides how.

    What Kafka's client says of each lost connection is left out: its errors come back as ours, with what to do.
    """
    stream = sys.stderr if stream is None else stream
    as_json, secrets = is_json(settings.log_format, stream), secrets_of(settings)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(secrets) if as_json else TextFormatter(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    logging.getLogger("kafka").setLevel(logging.WARNING)
    if as_json:
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
    return Logs(is_json=as_json)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    _LOG.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, traceback))


def tell_end(words: str, exit_code: int) -> bool:
    """An error that ends the process; False where the log is none of JSON, so that it is told in another way."""
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        return False
    _LOG.error("%s", words, extra={"exit_code": exit_code})
    return True
