"""A data directory has one kind of log: its store knows how far that was worked, and nothing of another one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from config.errors import BrokerError
from streams.adapters.log_folder import LOG_FOLDER

KAFKA_FOLDER: Final = "kafka"
"""Its name in a data directory."""
_WORDS: Final = {LOG_FOLDER: "the embedded log", KAFKA_FOLDER: "a Kafka"}


def refuse_other_log(data_dir: Path, *, with_kafka: bool) -> None:
    """Nothing for a directory that is new, or was begun with the same kind of log.

    Raises BrokerError for one that holds the other kind, or both, with what to do.
    """
    held = [folder for folder in _WORDS if (data_dir / folder).is_dir()]
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
