"""`tideline` that looks at its store every second, and waits for one that is away for as long as a test needs.

Its warm-up is short. `python -m tests.integration.watchful …`
"""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

from benchmarks._warmup import short_warmup
from streams.cli.app import main
from streams.commit import Patience

if __name__ == "__main__":
    with (
        patch("streams.runtime.store_watch.EVERY_S", 1.0),
        patch("streams.runtime.worker_stores.AWAY_S", 600.0),
        patch("streams.runtime.worker_stores.Patience", partial(Patience, attempts=1_000)),
        short_warmup(),
    ):
        main()
