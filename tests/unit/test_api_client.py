"""The commands' way to a service's API: what answers wrongly is told in words, and nobody else gets the key."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from config.errors import TidelineError
from config.settings import load_settings
from streams.cli.api_client import service

KEY = "tl_write_id_secret"


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says the same to everybody; its URL, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    got = connection.recv(65_536)
                    if not got:
                        return  # from `answering`, which is done
                    asked.append(got)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        socket.create_connection(server.getsockname()).close()
        thread.join(10.0)


def ask(url: str, method: str) -> None:
    with service(load_settings(api_url=url, api_key=KEY)) as client:
        if method == "GET":
            client.predictions()
        else:
            client.plan({}, {})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_is_refused_and_the_key_stays_here(status: int, method: str) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with answering(good) as (other, asked_there):
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: {other}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with answering(moved.encode()) as (url, asked), pytest.raises(TidelineError, match="the key is not sent there"):
            ask(url, method)
        assert len(asked) == 1
        assert asked_there == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>", "no JSON and is no API"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n\xff", "no text and is no API"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{}", "no answer from"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no answer from"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>", "502 and is no API"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{}", "no answer from"),
        (b'HTTP/1.1 502 Bad\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"\xff"', "502 and is no API"),
    ],
)
def test_what_is_no_api_is_told_so(answer: bytes, words: str) -> None:
    with answering(answer) as (url, _), pytest.raises(TidelineError, match=words):
        ask(url, "GET")
