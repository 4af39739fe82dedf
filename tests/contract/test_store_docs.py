"""Every example of `docs/redis.md` is run against the state that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from streams.adapters.redis_store import RedisStore
from streams.adapters.valkey_server import EmbeddedValkey
from streams.core.partition import shard_of
from tests.contract.example_store import SHARDS, fill
from tests.contract.worlds import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def one_liners() -> list[tuple[str, str]]:
    """(command line, what is shown below it)."""
    parts = [part for block in blocks("console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(command, shown.rstrip("\n")) for command, _, shown in (part.partition("\n") for part in parts)]


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of its own, as the page uses the plain prefix `tl`, and for each test, as one example changes it."""
    with EmbeddedValkey(tmp_path_factory.mktemp("docs")) as server:
        store = RedisStore(server.url, patience=PATIENCE)
        fill(store)
        store.close()
        yield redis.Redis.from_url(server.url, protocol=2)  # as redis-cli speaks


def quoted(data: bytes | str) -> str:
    """As redis-cli prints a string on a terminal."""
    text = data.decode() if isinstance(data, bytes) else data
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def on_terminal(reply: Any, indent: str = "") -> str:
    """A reply as redis-cli prints it on a terminal."""
    if reply is None:
        return "(nil)"
    if isinstance(reply, int):
        return f"(integer) {reply}"
    if isinstance(reply, bytes | str):
        return quoted(reply)
    if not reply:
        return "(empty array)"
    width = len(str(len(reply)))
    lines = []
    for number, item in enumerate(reply, start=1):
        head = f"{number:>{width}}) "
        lines.append((indent if number > 1 else "") + head + on_terminal(item, indent + " " * len(head)))
    return "\n".join(lines)


def raw(reply: Any) -> str:
    """A reply as `redis-cli --raw` prints it."""
    if isinstance(reply, list):
        return "\n".join(raw(item) for item in reply)
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def run(client: Any, line: str) -> str:
    """A small redis-cli: sends the command as it stands and prints the reply."""
    program, *arguments = shlex.split(line)
    assert program == "redis-cli"
    is_raw = arguments[0] == "--raw"
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*arguments[is_raw:])
        reply = connection.read_response()
    finally:
        client.connection_pool.release(connection)
    return raw(reply) if is_raw else on_terminal(reply)


def test_the_page_has_examples_of_everything_a_reader_needs() -> None:
    commands = " ".join(command for command, _ in one_liners())
    for word in ("shards", "scores:", "index:", "members:", "outbox", "dead", "commit", "BYSCORE", "HDEL"):
        assert word in commands
    assert len(one_liners()) >= 20


def test_every_example_shows_what_the_server_answers(client: Any) -> None:
    """In the order of the page, because the last one changes something."""
    for command, shown in one_liners():
        assert run(client, command) == shown, command


def test_every_key_of_the_layout_is_in_the_table(client: Any) -> None:
    for key in client.scan_iter(match="*"):
        name = re.sub(r"\{\d\}", "{2}", key.decode())
        name = re.sub(r"(scores|index):.*", r"\1:PREDICTION", name)
        name = re.sub(r"members:.*", "members:SEGMENT", name)
        kind = {"zset": "sorted set"}.get(client.type(key).decode(), client.type(key).decode())
        assert f"| `{name}` | {kind} |" in PAGE


def test_every_example_works_for_a_client_that_decodes(client: Any) -> None:
    """`decode_responses=True` on all commands but the last, which changes something."""
    options = client.connection_pool.connection_kwargs
    decoding: Any = redis.Redis(unix_socket_path=options["path"], protocol=2, decode_responses=True)
    for command, shown in one_liners()[:-1]:
        assert run(decoding, command) == shown, command


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_python_example_reads_scores_ranks_and_members(
    client: Any, protocol: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sharding, reading = blocks("python")
    options = client.connection_pool.connection_kwargs
    plain = redis.Redis

    def connected(**given: Any) -> Any:
        assert given == {"decode_responses": True}
        return plain(unix_socket_path=options["path"], protocol=protocol, **given)

    monkeypatch.setattr(redis, "Redis", connected)
    names: dict[str, Any] = {}
    exec(sharding + reading, names)
    assert capsys.readouterr().out == "91.5 high\n"
    assert names["n"] == SHARDS
    assert sorted(map(tuple, names["highest"])) == [("ann", 91.0), ("bob", 77.0)]
    assert names["members"] == {"ann", "bob"}
    assert names["r"].hget("tl:{1}:meta", "generation") == "made-by-example"


def test_the_python_example_gives_our_shards() -> None:
    source, _ = blocks("python")
    names: dict[str, Any] = {}
    exec(source, names)
    for user in ["", "a", "ab", "abc", "abcd", "zoë", "😀", "x" * 100]:
        for shards in (1, 2, 4, 12, 1000):
            assert names["shard_of"](user, shards) == shard_of(user, shards)


def test_the_table_of_shards_is_right() -> None:
    rows = re.findall(r"^\| (\S+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 7
    for user, shard in rows:
        assert shard_of(user, SHARDS) == int(shard)
