"""The command line that benchmarks share: sizes as numbers, where the servers keep their files, and `--json`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._measure import Figures, Progress, show
from config.errors import TidelineError

Work = Callable[[dict[str, Any], Path, Progress], Figures]
"""From the options by their names (`-` as `_`), a folder that is removed afterwards, and where to say how far it is."""


class Command:
    """One benchmark as a command. What is special about it is added to `parser`."""

    def __init__(self, name: str, about: str | None) -> None:
        self._name = name
        self.parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
        self.parser.add_argument(
            "--data-dir", type=Path, help="where the servers keep their files (default: a temporary folder)"
        )
        self.parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def numbers(self, options: Mapping[str, tuple[float, str]]) -> None:
        """Options with a default and what they mean; whole numbers where the default is one."""
        for name, (default, words) in options.items():
            told = f"{default:,}" if isinstance(default, int) else f"{default:g}"
            self.parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{words} (default {told})")

    def run(self, arguments: Sequence[str] | None, work: Work) -> Figures:
        """Parse, measure, print. An error of Tideline's ends the process with its words."""
        given = vars(self.parser.parse_args(arguments))
        as_json, data_dir = given.pop("json"), given.pop("data_dir")
        if data_dir is not None:
            data_dir.mkdir(parents=True, exist_ok=True)
        progress = Progress(self._name)
        try:
            with tempfile.TemporaryDirectory(dir=data_dir, prefix=f"tideline-{self._name}-") as folder:
                figures = work(given, Path(folder), progress)
        except TidelineError as error:
            sys.exit(f"{self._name}: {error}")
        progress.done()
        show(figures, as_json=as_json)
        return figures
