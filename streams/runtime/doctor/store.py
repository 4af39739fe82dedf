"""What a doctor sees of the store: its servers, what they promise, their memory and clocks, and what is stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from config.catalog import Catalog
from config.errors import SettingsError, StoreError, StoreFull, StoreIncompatible, StoreUnavailable, TidelineError
from config.settings import PREFIX, Settings
from streams.adapters.redis_definitions import RedisDefinitions
from streams.adapters.redis_nodes import open_nodes
from streams.adapters.redis_reader import RedisReader, StoreInfo, holds_store
from streams.adapters.redis_server import ServerCondition, ServerFacts, condition, inspect_all, promise, weakest
from streams.adapters.redis_wire import Wire
from streams.adapters.valkey_server import running_server
from streams.runtime.deletion_log import mark_of
from streams.runtime.doctor.finding import Finding, judge_clock, ok, warning, wrong
from streams.runtime.ledger_key import KEY_FILE, ledger_key
from streams.runtime.place import Place
from streams.runtime.replay import catalog_digest

_FULL_SHARE = 0.8
_LIMITS = "limits.pending_examples or limits.users of the catalog"


@dataclass(frozen=True, slots=True)
class StoreQuestion:
    """What is asked about a store. `shards`: of the log that its workers read, None where that is not known."""

    settings: Settings
    place: Place
    catalog: Catalog | None
    shards: int | None
    has_log: bool
    """The log is in the data directory."""
    timeout_s: float
    """For one answer of a server."""


def check_store(question: StoreQuestion) -> Iterator[Finding]:
    """Everything about the store, from whether it answers to what is in it; ends where nothing more can be asked."""
    url = question.place.url
    if url is None:
        folder = question.place.data_dir
        try:
            url = running_server(folder) if folder.is_dir() else None
        except OSError as error:
            yield wrong("store", StoreUnavailable(f"{folder} cannot be looked into ({error.strerror})"))
            return
        if url is None:
            words = f"the embedded server of {folder} does not run; commands start it. To look into it: tideline store"
            yield ok("store", words)
            yield from _key(question, None)
            return
    try:
        yield from _servers(question, url)
        info = _info(question, url)
    except TidelineError as error:
        yield wrong("store", error)
        return
    if info is None:
        yield ok("stored", f"nothing is stored below the key prefix {question.place.prefix!r} yet")
    else:
        yield _stored(question, info)
        yield from _same_catalog(question, info, url)
    yield from _key(question, info)


# --- servers -------------------------------------------------------------------------------------------------------


def _servers(question: StoreQuestion, url: str) -> Iterator[Finding]:
    """Raises StoreError for servers that do not answer, or cannot be used as they are."""
    with closing(open_nodes(url, timeout_s=question.timeout_s)) as nodes:
        wires = nodes.primaries()
        servers = inspect_all(nodes)
        found = weakest(servers)
        several = f", {len(servers)} servers" if len(servers) > 1 else ""
        yield ok("store", f"{question.place.name} answers: {found.product} {found.version}{several}")
        yield _promised(question.settings, servers)
        for wire in wires:
            yield from _condition(wire)


def _promised(settings: Settings, servers: list[ServerFacts]) -> Finding:
    """What the settings of servers and of Tideline promise of acknowledged commits."""
    found = weakest(servers)
    words = promise(found, settings.wait_replicas)
    fewest = min(facts.replicas for facts in servers)
    if fewest < settings.wait_replicas:
        missing = (
            f"{PREFIX}WAIT_REPLICAS={settings.wait_replicas}, and {fewest} replicas are connected: no commit gets "
        )
        return wrong("promise", StoreError(f"{missing}through. Connect replicas, or wait for fewer"))
    if settings.wait_on_disk:
        try:
            for facts in servers:
                facts.refuse_waiting_for_disk()
        except StoreIncompatible as error:
            return wrong("promise", error)
    todo = _todo(found, settings, fewest)
    if todo is not None:
        return warning("promise", f"{words}{todo} (docs/redis.md)")
    return ok("promise", words)


def _todo(found: ServerFacts, settings: Settings, fewest: int) -> str | None:
    """What to do where acknowledged commits may be forgotten, behind the words of the promise; None for nothing.

    `fewest`: replicas of the server that has the fewest of them.
    """
    if not found.appendonly:
        return ""  # the promise says it
    if found.fsync is None:
        return ". See to it that appendfsync is always"
    if found.fsync != "always":
        return ". Set appendfsync always"
    if found.replicas > settings.wait_replicas:
        return f". Let commits wait for them: {PREFIX}WAIT_REPLICAS={max(fewest, 1)}"
    return None


def _condition(wire: Wire) -> Iterator[Finding]:
    asked_s = time.time()
    found = condition(wire)
    yield _memory(wire.name, found)
    if found.unwritten:
        words = f"{wire.name} could not write {' and '.join(found.unwritten)}: look at its log and its disk"
        yield wrong("store's disk", StoreFull(words))
    # In the middle between question and answer, so that a slow line is no wrong clock.
    yield judge_clock("store's clock", wire.name, found.clock_s - (asked_s + time.time()) / 2, StoreError)


def _memory(name: str, found: ServerCondition) -> Finding:
    used = f"{name} uses {found.used_bytes / 1e9:,.2f} GB"
    full = "it refuses commits when it is full, and nothing is lost or evicted"
    if found.max_bytes:
        words = f"{used} of its maxmemory of {found.max_bytes / 1e9:,.2f} GB ({found.policy}); {full}"
        if found.used_bytes > _FULL_SHARE * found.max_bytes:
            return warning("store's memory", f"{words}. Raise maxmemory, or lower {_LIMITS}")
        return ok("store's memory", words)
    if found.machine_bytes and found.used_bytes > _FULL_SHARE * found.machine_bytes:
        words = f"{used} of its machine's {found.machine_bytes / 1e9:,.2f} GB without maxmemory: the system may kill it"
        return warning("store's memory", f"{words}. Give it more memory, or lower {_LIMITS}")
    return ok("store's memory", f"{used}; it has no maxmemory ({found.policy})")


# --- what is stored ------------------------------------------------------------------------------------------------


def _info(question: StoreQuestion, url: str) -> StoreInfo | None:
    """What the store was made for; None if there is none yet. Raises StoreError."""
    place, timeout_s = question.place, question.timeout_s
    if not holds_store(url, prefix=place.prefix, timeout_s=timeout_s):
        return None
    reader = RedisReader(url, prefix=place.prefix, timeout_s=timeout_s)
    try:
        return reader.info
    finally:
        reader.close()


def _stored(question: StoreQuestion, info: StoreInfo) -> Finding:
    words = f"{info.shards} shards, predictions {', '.join(info.predictions)}"
    if info.input is not None or question.shards in (None, info.shards):
        return ok("stored", words)
    return wrong(
        "stored",
        StoreIncompatible(
            f"the store has {info.shards} shards, and the log {question.shards}: users would change theirs. Set "
            f"{PREFIX}SHARDS={info.shards} where that is the right log, or use another store or key prefix"
        ),
    )


def _same_catalog(question: StoreQuestion, info: StoreInfo, url: str) -> Iterator[Finding]:
    wanted = question.catalog
    if wanted is None:
        return
    if info.catalog == catalog_digest(wanted):
        yield ok("catalog of the store", "the store was made with the same catalog")
        return
    definitions = RedisDefinitions(url, prefix=question.place.prefix, timeout_s=question.timeout_s)
    try:
        parts = _differing(definitions.file(), wanted)
    except StoreError as error:
        yield wrong("catalog of the store", error)
        return
    finally:
        definitions.close()
    told = f" (in {', '.join(parts)})" if parts else ""
    words = f"the store was made with another catalog{told}: workers go on with this one at their next start, and a"
    yield warning("catalog of the store", f"{words} replay refuses it. Where that is not meant, take the other file")


def _differing(stored: Catalog | None, wanted: Catalog) -> list[str]:
    """The parts of two catalogs that differ; none where only one is known."""
    if stored is None:
        return []
    ours, theirs = wanted.model_dump(by_alias=True), stored.model_dump(by_alias=True)
    return [part for part in ours if ours[part] != theirs[part]]


def _key(question: StoreQuestion, info: StoreInfo | None) -> Iterator[Finding]:
    """Whether the secret of deleted users is there, and the one of the store. Nothing is made, as a start would."""
    place = question.place
    path = place.data_dir / KEY_FILE
    known = info.ledger if info is not None else ""
    is_local = place.url is None or question.has_log
    if place.deletion_secret is None and not path.exists() and is_local:
        if known:
            words = f"{path} is gone, under which the store remembers deleted users: put it back"
            yield wrong("deletion key", StoreError(words))
        else:
            yield ok("deletion key", f"{path} is made at the first start; keep it as well as the log")
        return
    try:
        mark = mark_of(ledger_key(place, has_log=question.has_log))
    except (SettingsError, StoreError) as error:
        yield wrong("deletion key", error)
        return
    if known and known != mark:
        words = f"the store remembers deleted users under another {PREFIX}DELETION_KEY: set the first one"
        yield wrong("deletion key", StoreIncompatible(words))
        return
    where = f"{PREFIX}DELETION_KEY" if place.deletion_secret is not None else str(path)
    yield ok("deletion key", f"{where} is a key{', the one of the store' if known else ''}")
