"""What a check says: about what, how it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from config.errors import TidelineError

State: TypeAlias = Literal["ok", "warning", "wrong"]

OFF_BY_S: Final = 2.0
"""From here on a clock that differs from this machine's is told; less may be the way of the question."""
WRONG_BY_S: Final = 60.0
"""Events are judged by several clocks, and moved back where they seem to be of the future (`time.max_ahead`)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`words` say what was found and, unless it is ok, what to do. `exit_code`: that of a wrong one."""

    check: str
    state: State
    words: str
    exit_code: int = 0


def ok(check: str, words: str) -> Finding:
    """Nothing has to be done."""
    return Finding(check, "ok", words)


def warning(check: str, words: str) -> Finding:
    """It works, and may not for ever, or not as is meant."""
    return Finding(check, "warning", words)


def wrong(check: str, error: TidelineError) -> Finding:
    """It does not work; the error says why, and what to do."""
    return Finding(check, "wrong", str(error), error.exit_code)


def judge_clock(check: str, who: str, ahead_s: float, kind: type[TidelineError]) -> Finding:
    """How a clock differs from this machine's: `ahead_s` of it. `kind` of error: what it is where that is wrong."""
    if abs(ahead_s) < OFF_BY_S:
        return ok(check, f"the clock of {who} is that of this machine, within {OFF_BY_S:g} s")
    side = "ahead of" if ahead_s > 0 else "behind"
    words = f"the clock of {who} is {abs(ahead_s):,.0f} s {side} this machine's: let both follow a time server (NTP)"
    if abs(ahead_s) < WRONG_BY_S:
        return warning(check, words)
    return wrong(check, kind(words))
