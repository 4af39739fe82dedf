"""What is sent over HTTP and to whom: names that lie, answers that never end, redirects."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from benchmarks._ports import free_port
from streams.runtime.deliveries.sender import Outcome, Sender
from tests.conftest import ROOT
from tests.unit.webhook_receiver import Receiver

TIMEOUT_S = 5.0


async def fine(_: web.Request) -> web.Response:
    return web.Response(status=204)


def answering(status: int, **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="x" * 100, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def send(
    receiver: Receiver,
    url: str = "http://127.0.0.1:{port}/hook?x=1",
    *,
    allow_private: bool = True,
    timeout_s: float = TIMEOUT_S,
    names: Sequence[Sequence[str]] | None = None,
) -> Outcome:
    """One attempt. `names`: what looking up a name gives, one after another."""

    async def run() -> Outcome:
        async with receiver:
            answers = iter(names or ())

            async def look_up(_host: str, _port: int) -> Sequence[str]:
                return next(answers)

            more: dict[str, Any] = {} if names is None else {"look_up": look_up}
            sender = Sender(allow_private=allow_private, timeout_s=timeout_s, **more)
            try:
                return await sender.post(url.format(port=receiver.port), {"webhook-id": "1"}, b'{"a": 1}')
            finally:
                await sender.close()

    return asyncio.run(run())


def test_it_is_sent_as_it_is() -> None:
    receiver = Receiver(fine)
    assert send(receiver) == Outcome(True, "answered 204", 204)
    ((method, path, headers, body),) = receiver.requests
    assert (method, path, body) == ("POST", "/hook?x=1", b'{"a": 1}')
    assert headers["webhook-id"] == "1"
    assert "Cookie" not in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_two_hundreds_are_arrivals(status: int) -> None:
    assert send(Receiver(answering(status))).is_delivered


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    receiver = Receiver(answering(status, Location="/elsewhere"))
    outcome = send(receiver)
    assert (outcome.is_delivered, outcome.status) == (False, status)
    assert "redirects are not followed" in outcome.words
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
def test_everything_else_is_a_failure(status: int) -> None:
    assert send(Receiver(answering(status))) == Outcome(False, f"answered {status}", status)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": "99999999999"}, 3_600.0),
        ({"Retry_After": "Sun, 06 Nov 1994 08:50:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 60.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
    ],
)
def test_the_other_side_may_ask_for_time(headers: dict[str, str], wait_s: float | None) -> None:
    assert send(Receiver(answering(429, **headers))).wait_s == wait_s
    assert send(Receiver(answering(400, **headers))).wait_s is None


def test_an_answer_that_never_ends_is_not_read_to_its_end() -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65_536)
            written += 65_536

    assert send(Receiver(endless)).is_delivered
    assert written < 50 << 20


def ask(answer: bytes, most_bytes: int, status: int = 200, **given: Any) -> tuple[Outcome, bytes]:
    options: dict[str, Any] = {"allow_private": True} | given

    async def run() -> tuple[Outcome, bytes]:
        async def answered(_: web.Request) -> web.Response:
            return web.Response(status=status, body=answer)

        async with Receiver(answered) as receiver:
            sender = Sender(timeout_s=TIMEOUT_S, **options)
            try:
                return await sender.ask(f"http://127.0.0.1:{receiver.port}/", {}, b"{}", most_bytes)
            finally:
                await sender.close()

    return asyncio.run(run())


def test_an_answer_is_read_up_to_a_bound() -> None:
    whole = b"x" * 100_000
    assert ask(whole, 100_000) == (Outcome(True, "answered 200", 200), whole)
    assert ask(whole, 99_999) == (Outcome(False, "answered with more than 99,999 bytes", 200), b"")


def test_of_an_answer_that_is_none_nothing_is_read() -> None:
    assert ask(b"[]", 10, status=302) == (Outcome(False, "answered 302; redirects are not followed", 302), b"")
    outcome, body = ask(b"[]", 10, allow_private=False)
    assert (outcome.is_delivered, body) == (False, b"")
    assert "not sent" in outcome.words


def test_no_answer_in_time_is_a_failure() -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(60.0)
        return web.Response()

    assert send(Receiver(silent), timeout_s=0.2) == Outcome(False, "no answer in time", is_unknown=True)


def test_however_many_do_not_answer_others_are_sent_to() -> None:
    """Deliveries of all endpoints go by one client, and each endpoint has a bound of its own."""

    async def run() -> None:
        asked, silent = asyncio.Semaphore(0), asyncio.Event()

        async def answer(request: web.Request) -> web.Response:
            if request.path == "/silent":
                asked.release()
                await silent.wait()
            return web.Response(status=204)

        async with Receiver(answer) as receiver:
            sender = Sender(allow_private=True, timeout_s=600.0)
            url = f"http://127.0.0.1:{receiver.port}"
            waiting = [asyncio.create_task(sender.post(f"{url}/silent", {}, b"")) for _ in range(300)]
            for _ in waiting:
                await asked.acquire()
            assert (await sender.post(f"{url}/quick", {}, b"")).is_delivered
            silent.set()
            assert all(each.is_delivered for each in await asyncio.gather(*waiting))
            await sender.close()

    asyncio.run(run())


def test_endpoints_that_are_silent_leave_the_process_half_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (520, 520))
    held: set[str] = set()
    most = 0

    async def run() -> None:
        asked, silent = asyncio.Semaphore(0), asyncio.Event()

        async def answer(request: web.Request) -> web.Response:
            nonlocal most
            if request.path != "/quick":
                held.add(request.path)
                most = max(most, len(held))
                asked.release()
                await silent.wait()
                held.discard(request.path)
            return web.Response(status=204)

        async with Receiver(answer) as receiver:
            sender, other = (Sender(allow_private=True, timeout_s=600.0) for _ in range(2))
            url = f"http://127.0.0.1:{receiver.port}"
            waiting = [asyncio.create_task(sender.post(f"{url}/{n}", {}, b"")) for n in range(300)]
            for _ in range(260):
                await asked.acquire()
            assert (await other.post(f"{url}/quick", {}, b"")).is_delivered  # others had time to be asked meanwhile
            silent.set()
            assert all(each.is_delivered for each in await asyncio.gather(*waiting))
            await sender.close()
            await other.close()

    asyncio.run(run())
    assert most == 260


def test_a_process_takes_all_the_files_that_it_may_have() -> None:
    program = """
import resource
from streams.runtime.open_files import most_connections, take_all_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 900))
before = most_connections()
take_all_files()
print(before, *resource.getrlimit(resource.RLIMIT_NOFILE), most_connections())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["256", "900", "900", "450"]


def test_nobody_there_is_a_failure() -> None:
    outcome = send(Receiver(fine), f"http://127.0.0.1:{free_port()}/")
    assert not outcome.is_delivered
    assert outcome.words.startswith("not reached")


@pytest.mark.parametrize(
    "url",
    [
        *["https://127.0.0.1:{port}/", "https://[::1]:{port}/", "https://[::ffff:127.0.0.1]:{port}/"],
        *["https://localhost:{port}/", "https://2130706433:{port}/", "https://0x7f.1:{port}/", "https://127.1:{port}/"],
        *["https://0:{port}/", "https://017700000001:{port}/", "http://127.0.0.1:{port}/"],
        *["https://１２７.０.０.１:{port}/", "https://127。0。0。1:{port}/", "https://①②⑦.0.0.1:{port}/"],
    ],
)
def test_private_addresses_are_refused_however_they_are_written(url: str) -> None:
    receiver = Receiver(fine)
    outcome = send(receiver, url, allow_private=False)
    assert not outcome.is_delivered
    assert outcome.words.startswith("not sent: ")
    assert receiver.requests == []


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["fe80::1%lo"], ["10.0.0.1"]],
)
def test_a_name_that_leads_to_a_private_address_is_refused(addresses: list[str]) -> None:
    receiver = Receiver(fine)
    outcome = send(receiver, "https://hooks.example.org:{port}/", allow_private=False, names=[addresses])
    assert outcome == Outcome(
        False,
        "not sent: the address is not one of the public internet; "
        "TIDELINE_WEBHOOKS_PRIVATE=true allows private addresses and plain http",
    )
    assert receiver.requests == []


def test_a_name_is_looked_up_once_and_that_is_where_it_goes() -> None:
    """What a name that changes its mind says the second time is never asked for (DNS rebinding)."""
    receiver = Receiver(fine)
    names = [["127.0.0.1"], ["192.0.2.1"]]  # the second one is nowhere
    assert send(receiver, "http://hooks.example.org:{port}/", names=names).is_delivered
    ((_, _, headers, _),) = receiver.requests
    assert headers["Host"].startswith("hooks.example.org")


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(Receiver(fine)).is_delivered
