"""A small CSV of a shop, with a catalog that fits it, for tests that break one of the two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner

from streams.cli.app import app

CATALOG = """
version: 1
name: Small shop
input:
  format: csv
  user: who
  event: what
  time: {field: at}
  value: price
features: {value: price}
predictions:
  buys_1d: {name: Buys within a day, goal: {did: Buy}, window: 1d}
segments:
  keen: {name: Looked twice, filter: {event: View, count: {min: 2}}}
"""
START = datetime(2024, 1, 1, tzinfo=UTC)
USERS = 10


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(args))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def rows(count: int) -> list[dict[str, str]]:
    """A visit an hour, every third one with an order."""
    made = []
    for n in range(count):
        at = (START + timedelta(hours=n)).strftime("%Y-%m-%d %H:%M")
        buys = n % 3 == 0
        made.append(
            {"who": f"u{n % USERS}", "what": "Buy" if buys else "View", "at": at, "price": "12.50" if buys else ""}
        )
    return made


def write(folder: Path, made: list[dict[str, str]], catalog: str = CATALOG) -> tuple[str, str]:
    """The paths of the CSV and its catalog."""
    events, path = folder / "events.csv", folder / "catalog.yaml"
    lines = ["who,what,at,price", *(",".join(row.values()) for row in made)]
    events.write_text("\n".join(lines) + "\n")
    path.write_text(catalog)
    return str(events), str(path)


def replay(folder: Path, made: list[dict[str, str]], catalog: str = CATALOG, *more: str) -> tuple[int, str, str]:
    """Run it, with everything in `data` below the folder."""
    events, path = write(folder, made, catalog)
    return run("replay", events, "-c", path, "--data-dir", str(folder / "data"), *more)
