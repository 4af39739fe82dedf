"""A data directory has one kind of log: its store knows how far that was worked, and nothing of another one.

So is the number of its partitions its own for good, as state belongs to them.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from config.errors import BrokerError, NoLog, TopicsDiffer
from config.settings import Settings
from streams.adapters.kafka_server import kept_address, kept_partitions
from streams.adapters.log_folder import LOG_FOLDER, LogFolder

KAFKA_FOLDER: Final = "kafka"
"""Its name in a data directory."""
_WORDS: Final = {LOG_FOLDER: "the embedded log", KAFKA_FOLDER: "a Kafka"}


def refuse_other_log(data_dir: Path, *, with_kafka: bool) -> None:
    """Nothing for a directory that is new, or was begun with the same kind of log.

    Raises BrokerError for one that holds the other kind, or both, with what to do.
    """
    held = _held(data_dir)
    wanted = KAFKA_FOLDER if with_kafka else LOG_FOLDER
    if held in ([], [wanted]):
        return
    where = shlex.quote(str(data_dir))
    if len(held) > 1:
        raise BrokerError(
            f"{data_dir} holds two logs, {_WORDS[LOG_FOLDER]} and {_WORDS[KAFKA_FOLDER]}, and one store, which cannot "
            "have worked both. Begin in another --data-dir; or if one of them was started by mistake and holds nothing "
            f"that is needed, move it away: mv {where}/{LOG_FOLDER} ELSEWHERE, or mv {where}/{KAFKA_FOLDER} ELSEWHERE."
        )
    again = "with --kafka again" if held == [KAFKA_FOLDER] else "without --kafka"
    raise BrokerError(
        f"{data_dir} was begun with {_WORDS[held[0]]}, and its events are there; {_WORDS[wanted]} beside it "
        f"would begin empty while the store stays. Start it {again}, or begin in another --data-dir."
    )


def find_log(data_dir: Path) -> LogFolder:
    """The embedded log of a directory, for a command that was given no Kafka.

    Raises BrokerError for a directory with a Kafka, with its address, or with both kinds, and what `LogFolder.find`
    raises.
    """
    if _held(data_dir) == [KAFKA_FOLDER]:
        address = kept_address(data_dir / KAFKA_FOLDER)
        instead = "it was never started" if address is None else f"in place of --data-dir give --kafka {address}"
        start = f"`tideline up -c CATALOG --kafka --data-dir {shlex.quote(str(data_dir))}` runs it"
        raise BrokerError(f"the log of {data_dir} is a Kafka: {instead}; {start}.")
    refuse_other_log(data_dir, with_kafka=False)
    return LogFolder.find(data_dir)


def with_kept_shards(settings: Settings, data_dir: Path, *, with_kafka: bool) -> Settings:
    """Settings with the number of shards that the directory's log was begun with; as they are for a new one.

    Raises TopicsDiffer where option or environment ask for another number, BrokerError for a damaged log.
    """
    kept = _kept_shards(settings, data_dir, with_kafka=with_kafka)
    if kept is None or kept == settings.shards:
        return settings
    if "shards" in settings.model_fields_set:  # somebody said it; else it is the default
        raise TopicsDiffer(
            f"{data_dir} was begun with {kept} shards, not {settings.shards}: users would change theirs. Go on with "
            f"--shards {kept} (TIDELINE_SHARDS={kept}), or without either; or begin in another --data-dir."
        )
    return settings.model_copy(update={"shards": kept})


def _kept_shards(settings: Settings, data_dir: Path, *, with_kafka: bool) -> int | None:
    if with_kafka:
        return kept_partitions(data_dir / KAFKA_FOLDER, settings.topic("events"))
    try:
        return LogFolder.find(data_dir).shards
    except NoLog:
        return None


def _held(data_dir: Path) -> list[str]:
    """The kinds of log that are there, as their folders."""
    return [folder for folder in _WORDS if (data_dir / folder).is_dir()]
