"""`tideline` whose learners compare likelihoods with those of some seconds before, not of the day before.

Its warm-up is short. `python -m tests.integration.short_days …`
"""

from __future__ import annotations

from unittest.mock import patch

from benchmarks._warmup import short_warmup
from streams.cli.app import main

DAY_S = 3.0

if __name__ == "__main__":
    with patch("streams.runtime.drift._DAY_S", DAY_S), short_warmup():
        main()
