"""Commands to try next, as they work when they are pasted here: where `tideline` is, and segments with somebody in."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.runtime.summary import Summary

_NAME = "tideline"


def command() -> str:
    """How this shell starts Tideline: `tideline` if it is on the path, else the script's own path, or the module."""
    if shutil.which(_NAME) is not None:
        return _NAME
    script = Path(sys.prefix) / "bin" / _NAME
    if script.is_file():
        return shlex.quote(_from_here(script))
    return f"{shlex.quote(_from_here(Path(sys.executable)))} -m streams"


def activation() -> str | None:
    """What puts `tideline` on the path; None where it is already, or nothing would."""
    script = Path(sys.prefix) / "bin" / "activate"
    if shutil.which(_NAME) is not None or not script.is_file():
        return None
    return f"source {shlex.quote(_from_here(script))}"


def segment_to_try(summary: Summary, *preferred: str) -> str | None:
    """A segment that has members: the first of `preferred` that has, else the one with the fewest; None if none has."""
    members = {segment.id: segment.members for segment in summary.segments if segment.members}
    wanted = next((name for name in preferred if name in members), None)
    return wanted or min(members, key=lambda name: members[name], default=None)


def _from_here(path: Path) -> str:
    """The path as one would type it in this directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
