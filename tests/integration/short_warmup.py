"""`tideline` with learners whose warm-up ends soon: `python -m tests.integration.short_warmup worker ...`"""

from __future__ import annotations

from benchmarks._warmup import short_warmup
from streams.cli.app import main

if __name__ == "__main__":
    with short_warmup():
        main()
