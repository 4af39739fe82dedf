"""Replays of files with bad input in them, through the command line with the embedded store, and what they left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from typer.testing import CliRunner

from streams.adapters.valkey_server import EmbeddedValkey
from streams.cli.app import app

START_S = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
USERS, VISITS = 30, 20

RULES = """
features: {events: [Viewed], value: price, traits: [country]}
history: [Viewed]
predictions:
  orders_2d:
    name: Orders within 2 days
    goal: {did: Order, where: {product: {in: [boat, sail]}}}
    window: 2d
segments:
  keen: {name: Viewed twice a day, filter: {event: Viewed, count: {min: 2}, within: 24h}}
"""
SEGMENT = f"version: 1\nname: Bad input\n{RULES}"
MAPPED = """
  user: who
  event: what
  time: {field: at, unit: s}
  message_id: id
  value: price
  traits: {country: country}
  properties: {product: product}
"""
NDJSON = f"version: 1\nname: Bad input\ninput:\n  format: ndjson{MAPPED}{RULES}"
CSV = f"version: 1\nname: Bad input\ninput:\n  format: csv{MAPPED}{RULES}"
COLUMNS = ("who", "what", "at", "id", "price", "country", "product")


def command(*args: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command. An exception that nobody expects goes on."""
    result = CliRunner().invoke(app, list(map(str, args)), env={"COLUMNS": "100", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def good_events() -> list[dict[str, Any]]:
    """Visits and orders of a few users, in the order of time, by the names of the mapping."""
    found = []
    for number in range(USERS * VISITS):
        user, at = number % USERS, START_S + 1_200 * number + number % 7
        what = "Order" if (number * 7 + user) % 5 == 0 else "Viewed"
        product, country = ("boat", "sail", "oar")[number % 3], "ABC"[user % 3]
        values = (f"u{user}", what, at, f"m{number}", number % 50 + 0.25, country, product)
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def as_segment(event: dict[str, Any], /, **changes: Any) -> bytes:
    """A Segment record of an event. `changes` replace its fields; None takes one away."""
    record: dict[str, Any] = {
        "type": "track",
        "userId": event["who"],
        "event": event["what"],
        "timestamp": datetime.fromtimestamp(event["at"], UTC).isoformat(),
        "messageId": event["id"],
        "properties": {"price": event["price"], "product": event["product"]},
        "traits": {"country": event["country"]},
    } | changes
    return json.dumps({key: value for key, value in record.items() if value is not None}).encode()


def as_row(event: dict[str, Any], /, **changes: Any) -> bytes:
    """A CSV row of an event."""
    return ",".join(str(value) for value in (event | changes).values()).encode()


def place_of(source: str) -> tuple[str, int]:
    """File and row of a dead letter."""
    name, _, row = source.rpartition(" row ")
    return name, int(row)


@dataclass(frozen=True)
class Left:
    """What a run has left: all about the users without what follows from the file as such, and the dead letters."""

    scores: dict[bytes, bytes]
    members: dict[str, set[bytes]]
    transitions: list[dict[str, Any]]
    dead: list[dict[str, Any]]
    summary: dict[str, Any]
    err: str

    @property
    def of_users(self) -> tuple[Any, ...]:
        """To compare with another run over the same good records."""
        return self.scores, self.members, self.transitions, self.summary["users"], self.summary["counters"]


Stored = tuple[dict[bytes, bytes], dict[str, set[bytes]]]
"""Scores of the users, and the members of every segment."""


def stored(data_dir: Path) -> tuple[list[dict[str, Any]], Stored]:
    """The dead letters in a store, by file and row, and what it has of the users."""
    with EmbeddedValkey(data_dir) as server:
        client: Any = redis.Redis.from_url(server.url)  # its types know nothing of bytes in and bytes out
        dead = [json.loads(fields[b"d"]) for _, fields in client.xrange("tl:{0}:dead")]
        segments = ("orders_2d.low", "orders_2d.medium", "orders_2d.high", "keen")
        members = {name: set(client.smembers(f"tl:{{0}}:members:{name}")) for name in segments}
        users = client.hgetall("tl:{0}:scores:orders_2d")
        client.close()
    dead.sort(key=lambda letter: place_of(letter["source"]))  # they come in the order of time
    return dead, (users, members)


def replay(folder: Path, catalog: str, files: Sequence[Path], *options: str) -> Left:
    """Run files, in a folder of their own, to the end."""
    folder.mkdir(exist_ok=True)
    (folder / "catalog.yaml").write_text(catalog)
    where = ("--data-dir", folder / "data")
    code, out, err = command("replay", *files, "--catalog", folder / "catalog.yaml", *where, "--json", *options)
    assert code == 0, err
    dead, of_users = stored(folder / "data")
    transitions = [json.loads(line) for line in (folder / "data" / "transitions.ndjson").read_text().splitlines()]
    for transition in transitions:
        transition.pop("id")  # follows from the content of the input as a whole
    return Left(*of_users, transitions, dead, json.loads(out)["summary"], err)
