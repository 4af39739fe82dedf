"""`tideline` that looks at its store every second, with a short warm-up: `python -m tests.integration.watchful …`"""

from __future__ import annotations

from unittest.mock import patch

from benchmarks._warmup import short_warmup
from streams.cli.app import main

if __name__ == "__main__":
    with patch("streams.runtime.store_watch.EVERY_S", 1.0), short_warmup():
        main()
