"""`tideline` that commits no further than it is let: `python -m tests.integration.held_commits FILE replay ...`

FILE has the number of the last commit that may be made; the next one waits for a higher number there. So a run cannot
be over before a test has done to it what the test is about, however long the test had to wait for its turn on the
processor, and it works on at full speed until then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from streams.adapters.redis_store import RedisStore
from streams.cli.app import main
from streams.ports import Claim, CommitBatch

_LOOK_S = 0.005


def let(file: Path, number: int) -> None:
    """Commits up to this number may be made."""
    new = file.with_suffix(".new")
    new.write_text(str(number))
    new.replace(file)


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Stores of this process commit no further."""
    commit = RedisStore.commit

    def commit_if_let(store: RedisStore, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        while batch.number > int(file.read_text()):
            time.sleep(_LOOK_S)  # a signal ends it, as it would end the commit
        commit(store, claim, batch, trim)

    with patch.object(RedisStore, "commit", commit_if_let):
        yield


if __name__ == "__main__":
    with held(Path(sys.argv.pop(1))):
        main()
