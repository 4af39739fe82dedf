"""Settings of one process: where its store and data are, and its keys. The only reader of the environment.

Every setting is an environment variable with the prefix ``TIDELINE_``; docs/settings.md lists them. What the product
should do (predictions, segments, limits) is not here but in the catalog.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.errors import SettingsError
from config.problems import suggest

__all__ = ["PREFIX", "Settings", "load_settings"]

PREFIX = "TIDELINE_"
# Read by the tests only, to point them at servers that run already.
TEST_PREFIX = "TIDELINE_TEST_"


class Settings(BaseSettings):
    """The values of one process. Make it with ``load_settings``, which turns mistakes into a SettingsError."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    redis_url: str | None = Field(
        default=None,
        description="The store: `redis://`, `rediss://` (TLS) or `unix://`. Without it Tideline starts its own Valkey "
        "server, with its data below the data directory.",
    )
    data_dir: Path = Field(
        default=Path(".tideline"), description="Where the embedded server and the files of a run are kept."
    )
    key_prefix: str = Field(
        default="tl",
        pattern=r"^[a-z][a-z0-9_-]{0,31}$",
        description="What every key in Redis begins with; two services in one Redis need two of them.",
    )
    wait_replicas: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Hold every commit back until so many replicas of the server have it, so that a failover forgets "
        "nothing that was published.",
    )
    wait_on_disk: bool = Field(
        default=False,
        description="Count a copy only when it is on disk, there and on the server itself (`WAITAOF` in place of "
        "`WAIT`; Redis 7.2, Valkey 8 or later).",
    )
    wait_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="Seconds to wait for the copies of a commit before it is tried again.",
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Signs snapshots of river models that are stored as pickles (32 characters or more). Without it "
        "only models that are stored as plain numbers can be used.",
    )

    @field_validator("redis_url")
    @classmethod
    def _scheme(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
            raise PydanticCustomError("url", "an address that begins with redis://, rediss:// or unix://")
        return value

    @field_validator("signing_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise PydanticCustomError("key", "a key of at least 32 characters, made by `openssl rand -hex 32`, say")
        return value


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; ``overrides`` (values of the command line, None: not given) win.

    Raises SettingsError, with the names of the variables and never their values, for a value that cannot be used and
    for a variable with the prefix that is no setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    problems = [
        f"{name} is not a setting{suggest(name, known)}"
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX) and name.upper() not in known and not name.startswith(TEST_PREFIX)
    ]
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems += [_words(str(detail["loc"][0]), detail["msg"]) for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(problems)) from None  # the cause could show a secret
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _words(name: str, message: str) -> str:
    return f"{PREFIX}{name.upper()}: expected {message.removeprefix('Input should be ').removeprefix('Value should ')}"
