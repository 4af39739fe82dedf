"""How many files and connections a process may have open, and how many of them may be connections to others."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

_FEWEST: Final = 256
_MANY: Final = 65_536
"""More are never needed. Some containers allow a thousand million, and programs that walk over all of them hang."""


def take_all_files() -> None:
    """Raise the limit of this process as far as it may, to 65,536: many systems begin with 1,024.

    Where the system refuses, the limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(ValueError, OSError):  # of some systems the kernel allows less than the hard limit says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """To whom messages go: half of the files, so that the store, the log and `/readyz` always have some."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_FEWEST, (_MANY if soft == resource.RLIM_INFINITY else soft) // 2)
