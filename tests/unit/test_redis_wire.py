"""What is told of a store that does not answer, is something else, or is full."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis.exceptions import ResponseError

from config.errors import StoreError, StoreFull, StoreIncompatible, StoreUnavailable
from streams.adapters.redis_pack import command
from streams.adapters.redis_wire import Wire, refusal


@contextmanager
def server(answers: int) -> Iterator[str]:
    """Takes one connection, answers so many PINGs there, and closes it at the next; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            line, _ = listening.accept()
            with line:
                left = answers
                while asked := line.recv(65_536):  # the client greets first
                    left -= asked.count(b"PING")
                    if left < 0:
                        break
                    line.sendall(b"+PONG\r\n" * asked.count(b"*"))
            listening.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        thread.join()


def test_an_address_where_nobody_listens_asks_whether_it_is_right() -> None:
    with pytest.raises(StoreUnavailable, match=r"run there, and is the address right \(--store, or TIDELINE_REDIS_URL"):
        Wire("redis://127.0.0.1:1/0", timeout_s=5.0).ask("PING")


def test_what_closes_the_line_at_the_first_word_may_be_no_redis() -> None:
    with (
        server(0) as url,
        pytest.raises(StoreUnavailable, match="Does a Redis or Valkey run there"),
    ):
        Wire(url, timeout_s=5.0).ask("PING")


def test_a_server_that_has_answered_has_the_right_address() -> None:
    with server(1) as url:
        wire = Wire(url, timeout_s=5.0)
        assert wire.ask("PING") == b"PONG"
        with pytest.raises(StoreUnavailable, match="does not answer") as found:
            wire.ask("PING")
    assert "address" not in str(found.value)


def test_a_line_that_its_server_has_closed_meanwhile_is_made_anew() -> None:
    """Else every line that waited while a server was started again would fail once, long after it is back."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = threading.Event()

        def serve() -> None:
            for _ in range(2):
                line, _ = listening.accept()
                with line:
                    while b"PING" not in (asked := line.recv(65_536)):
                        line.sendall(b"+OK\r\n" * asked.count(b"*"))
                    line.sendall(b"+PONG\r\n" * asked.count(b"*"))
                left.set()

        thread = threading.Thread(target=serve)
        thread.start()
        wire = Wire(f"redis://127.0.0.1:{listening.getsockname()[1]}/0", timeout_s=5.0)
        assert wire.ask("PING") == b"PONG"
        assert left.wait(5.0)
        assert wire.ask("PING") == b"PONG"
        assert wire.cuts == 1, "whoever has to stay on one line sees that this is another"
        thread.join()
        with pytest.raises(StoreUnavailable):
            wire.exchange([command(b"PING")], on_same_line=True)


def test_an_embedded_server_is_no_address_that_somebody_wrote() -> None:
    with pytest.raises(StoreUnavailable, match="does not answer") as found:
        Wire("unix:///no/such/socket", timeout_s=5.0).ask("PING")
    assert "address" not in str(found.value)


def test_a_full_store_is_told_what_helps() -> None:
    full = refusal(ResponseError("OOM command not allowed when used memory > 'maxmemory'."), "writing")
    assert isinstance(full, StoreFull)
    assert "Give it more and start again" in str(full)
    assert "frees nothing" in str(full)


def test_a_store_whose_disk_is_full_is_told_what_helps() -> None:
    words = "MISCONF Errors writing to the AOF file: No space left on device"
    full = refusal(ResponseError(words), "writing")
    assert isinstance(full, StoreFull)
    assert "give the disk room, and start again" in str(full)
    assert words in str(full)


@pytest.mark.parametrize(
    ("answer", "kind", "advice"),
    [
        ("NOAUTH Authentication required.", StoreIncompatible, r"put it into the address, TIDELINE_REDIS_URL"),
        (
            "WRONGPASS invalid username-password pair",
            StoreIncompatible,
            "the password of the address, TIDELINE_REDIS_URL",
        ),
        ("NOPERM User x has no permissions", StoreIncompatible, r"docs/redis\.md \(Addresses\) has the user"),
        ("READONLY You can't write against a read only replica.", StoreUnavailable, "put its primary into the address"),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable, "connect them, or lower"),
        ("MOVED 3 127.0.0.1:7001", StoreIncompatible, r"redis\+cluster://"),
        ("WRONGTYPE Operation against a key", StoreIncompatible, "choose another prefix"),
    ],
)
def test_a_refusal_says_what_to_do(answer: str, kind: type[StoreError], advice: str) -> None:
    told = refusal(ResponseError(answer), "commit 7 of shard 3")
    assert type(told) is kind
    assert re.search(advice, str(told))
    assert answer in str(told), "and what the server has said"
