"""`tideline` whose lease of the channels is short: `python -m tests.integration.short_lease campaigns ...`

Whoever kills the owner again and again would wait ten seconds each time for the lease to lapse.
"""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

from streams.cli.app import main
from streams.runtime.channels.service import Around

LEASE_S = 2.0

if __name__ == "__main__":
    with patch("streams.runtime.campaigns.serve.Around", partial(Around, lease_s=LEASE_S)):
        main()
