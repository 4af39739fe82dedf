"""Options that several commands share, and the form of their examples."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from config.settings import Settings
    from models.snapshot import ModelCodec
    from streams.adapters.redis_store import WaitFor
    from streams.runtime.place import Place

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE", help="Files of events, plain or gzip; several are read in the order of their times."
    ),
]
CatalogFile = Annotated[
    Path, typer.Option("--catalog", "-c", metavar="CATALOG", help="The catalog: what to read and what to predict.")
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="A Redis or Valkey: redis://HOST:PORT/0, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://. "
        "Without it, the embedded server of the data directory.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Where the embedded server and the files of a run are kept (.tideline, or TIDELINE_DATA_DIR).",
    ),
]
ShardsOnKafka = Annotated[
    int | None, typer.Option("--shards", min=1, help="Partitions of the events on Kafka (TIDELINE_SHARDS).")
]
Embedded = Annotated[
    bool, typer.Option("--embedded", help="The log of the data directory, whatever TIDELINE_API_LOG says.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script (docs/cli.md has the keys).")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run has stored there, and begin anew.")]

Origin = Annotated[
    str | None,
    typer.Option(
        "--origin",
        metavar="ORIGINS",
        help="Only transitions that came from these, separated by commas: live (an event), decay (silence), model, "
        "audience, definition_change, backfill, deleted.",
    ),
]


def chosen_log(kafka: str | None, *, embedded: bool) -> Literal["embedded", "kafka"] | None:
    """What `--kafka` and `--embedded` say of the log; None where the settings say it. Raises SettingsError for both."""
    from config.errors import SettingsError

    if embedded and kafka is not None:
        raise SettingsError("--embedded is a log without Kafka: leave out --kafka, or --embedded")
    if embedded:
        return "embedded"
    return None if kafka is None else "kafka"


def origins_of(given: str | None) -> frozenset[str]:
    """The origins of `--origin`; none for all of them. Raises SettingsError for one that does not exist."""
    from config.errors import SettingsError
    from streams.runtime.transition_log import ORIGINS

    wanted = [name for name in map(str.strip, (given or "").split(",")) if name]
    unknown = [name for name in wanted if name not in ORIGINS]
    if unknown:
        raise SettingsError(f"--origin: {unknown[0]!r} is none of {', '.join(ORIGINS)}")
    return frozenset(wanted)


def examples(lines: Sequence[tuple[str, str]]) -> str:
    """Commands with what they are for, as the end of a help text."""
    shown = [f"  [cyan]{command}[/cyan]\n      {words}" for command, words in lines]
    return "\n".join(["[bold]Examples[/bold]", *shown])


def flowing(text: str) -> str:
    """A docstring as help text: lines of a paragraph belong together, whatever the terminal's width."""
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in inspect.cleandoc(text).split("\n\n"))


def find_place(store: str | None, data_dir: Path | None) -> tuple[Place, ModelCodec | None]:
    """Where the store is, and what signs models, from options and settings. Raises SettingsError."""
    from config.settings import load_settings
    from streams.runtime.place import Place

    settings = load_settings(redis_url=store, data_dir=data_dir)
    codec: ModelCodec | None = None
    if settings.signing_key is not None:
        from models.rivermodels import SignedPickle  # with river, which takes two seconds to import

        codec = SignedPickle(settings.signing_key.get_secret_value().encode())
    secret = None if settings.deletion_key is None else settings.deletion_key.get_secret_value()
    place = Place(settings.data_dir, settings.redis_url, settings.key_prefix, _wait_for(settings), secret)
    return place, codec


def warn_if_open(folder: Path) -> None:
    """Tell of a data directory that other users can open, and what to do."""
    from streams.cli.screen import warn
    from streams.runtime.place import open_to_others

    if open_to_others(folder):
        command = f"chmod 700 {shlex.quote(str(folder))}"
        warn(f"other users of this machine may open {folder}, and it holds data about your users. Close it: {command}")


def _wait_for(settings: Settings) -> WaitFor | None:
    """The copies that settings ask for; None for none."""
    from streams.adapters.redis_store import WaitFor

    if not settings.wait_replicas and not settings.wait_on_disk:
        return None
    return WaitFor(settings.wait_replicas, settings.wait_on_disk, settings.wait_timeout_s)
