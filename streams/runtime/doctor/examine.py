"""All checks of `tideline doctor` together, in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config.catalog import Catalog
from config.errors import BrokerError, BrokerUnavailable, CatalogError, StoreUnavailable, TidelineError
from config.loader import load_catalog
from config.settings import PREFIX, Settings
from streams.adapters.log_folder import LogFolder
from streams.runtime.doctor.finding import Finding, ok, wrong
from streams.runtime.doctor.log import check_embedded_log, check_kafka
from streams.runtime.doctor.machine import check_data_dir, check_packages, check_ports
from streams.runtime.doctor.store import StoreQuestion, check_store
from streams.runtime.place import Place

_ANSWER_SHARE = 0.5
"""Of the time for a server, what one answer of it may take: so what it did not answer is told by name."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What is looked at, and for how long at most each server is waited for."""

    settings: Settings
    place: Place
    on_kafka: bool
    catalog_file: Path | None
    timeout_s: float


def examine(asked: Examination) -> Iterator[Finding]:
    """Every finding, in the order in which things depend on each other. Starts nothing and changes nothing."""
    yield check_packages()
    yield ok("settings", f"every {PREFIX}... variable of the environment is a setting that can be used")
    yield from check_data_dir(asked.settings.data_dir)
    yield from check_ports(asked.settings)
    catalog: Catalog | None = None
    if asked.catalog_file is None:
        yield ok("catalog", "not looked at: name it with --catalog")
    else:
        try:
            catalog = load_catalog(asked.catalog_file)
        except TidelineError as error:
            yield from _catalog_problems(error)
        else:
            yield ok("catalog", f"{asked.catalog_file} is right: {len(catalog.predictions)} predictions")
    yield from _servers(asked, catalog)


def _catalog_problems(error: TidelineError) -> Iterator[Finding]:
    if not isinstance(error, CatalogError):
        yield wrong("catalog", error)
        return
    for problem in error.problems:
        yield Finding("catalog", "wrong", f"{error.source}: {problem}", error.exit_code)


def _servers(asked: Examination, catalog: Catalog | None) -> Iterator[Finding]:
    """Of log and store, which are asked at the same time."""
    answer_s = asked.timeout_s * _ANSWER_SHARE
    settings, place = asked.settings, asked.place
    question = StoreQuestion(settings, place, catalog, _shards(asked), not asked.on_kafka, answer_s)
    log_words = f"Kafka at {settings.kafka_bootstrap_servers}" if asked.on_kafka else f"the log in {settings.data_dir}"
    groups = [
        _Group(
            lambda: check_kafka(settings, timeout_s=answer_s) if asked.on_kafka else check_embedded_log(settings),
            wrong("Kafka" if asked.on_kafka else "log", BrokerUnavailable(_too_slow(log_words, asked.timeout_s))),
        ),
        _Group(lambda: check_store(question), wrong("store", StoreUnavailable(_too_slow(place.name, asked.timeout_s)))),
    ]
    deadline_s = time.monotonic() + asked.timeout_s
    for group in groups:
        yield from group.await_until(deadline_s)


def _too_slow(who: str, timeout_s: float) -> str:
    return f"{who} has not answered everything within {timeout_s:g} s: is it overloaded? --timeout waits for longer"


def _shards(asked: Examination) -> int | None:
    """Of the log; None where it is not known or cannot be read, which its own check tells."""
    if asked.on_kafka:
        return asked.settings.shards
    try:
        return LogFolder.find(asked.settings.data_dir).shards
    except BrokerError:
        return None


class _Group:
    """Checks that are made in a thread of their own, as some of their clients cannot be told when to give up."""

    def __init__(self, checks: Callable[[], Iterator[Finding]], late: Finding) -> None:
        """`late`: what is found where they do not come to an end."""
        self._checks = checks
        self._late = late
        self._found: list[Finding] = []
        self._is_whole = False
        self._thread = threading.Thread(target=self._run, name=f"doctor-{late.check}", daemon=True)
        self._thread.start()

    def await_until(self, deadline_s: float) -> Iterator[Finding]:
        """What was found until then, by `time.monotonic`."""
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        is_late = self._thread.is_alive()
        yield from tuple(self._found)
        if is_late:
            yield self._late
        elif not self._is_whole:
            raise RuntimeError(f"a bug in the checks of {self._late.check}; its traceback is above")

    def _run(self) -> None:
        for finding in self._checks():
            self._found.append(finding)
        self._is_whole = True
