"""`python -m tests.sim --seeds 1000 --start 0`: any number of seeds; ends with a count, and with 1 after a failure."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.sim.planted import NONE, PLANTED
from tests.sim.run import Result, simulate

EVERY = 100
"""Seeds between two lines of progress."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Simulate runs with faults, one per seed.")
    parser.add_argument("--seeds", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--start", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--planted", choices=list(PLANTED), help="with this bug planted")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    return parser.parse_args()


def command(seed: int, planted: str | None = None) -> str:
    """What repeats a seed."""
    return f"python -m tests.sim --start {seed} --seeds 1" + (f" --planted {planted}" if planted else "")


def _tell_failure(result: Result, planted: str | None) -> None:
    print(f"seed {result.seed}: {result.failure}")  # noqa: T201
    print("\n".join(f"    {note}" for note in result.notes))  # noqa: T201
    print(f"again: {command(result.seed, planted)}", flush=True)  # noqa: T201


def main() -> int:
    """Returns the exit code."""
    options = _arguments()
    faults: Counter[str] = Counter()
    failed = done = 0
    for seed in range(options.start, options.start + options.seeds):
        result = simulate(seed, PLANTED[options.planted] if options.planted else NONE)
        faults.update(result.faults)
        done += 1
        if result.failure is not None:
            failed += 1
            if not options.keep_going:
                _tell_failure(result, options.planted)
                break
            print(f"seed {seed}: {result.failure[:200]}", flush=True)  # noqa: T201
        if done % EVERY == 0:
            print(f"{done} of {options.seeds} seeds, {failed} failed", flush=True)  # noqa: T201
    for kind, times in sorted(faults.items()):
        print(f"{times:9,d}  {kind}")  # noqa: T201
    print(f"{done} seeds, {failed} failed")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
