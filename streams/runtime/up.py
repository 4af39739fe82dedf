"""The whole service on one machine: store, log, worker, API, webhooks and campaigns, all of it in one directory."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from config.catalog import Catalog
from config.loader import load_catalog
from streams.adapters.log_folder import LOG_FOLDER
from streams.runtime.precompile import Steps, get_ready_for_others
from streams.runtime.supervisor import Part, Supervisor
from streams.runtime.up_log import refuse_other_log, with_kept_shards
from streams.runtime.up_parts import (
    ApiPart,
    CampaignsPart,
    DeliverPart,
    FirstKey,
    KafkaPart,
    StorePart,
    UpJob,
    WorkerPart,
)


class Running(NamedTuple):
    """What runs, and where."""

    job: UpJob
    kafka: KafkaPart | None
    worker: str
    """Its address; of the API, too."""
    api: str
    key: str | None


def run_up(
    job: UpJob,
    first_key: FirstKey,
    watcher: Steps,
    say: Callable[[str], None],
    stopping: threading.Event,
    *,
    beside: Sequence[Part] = (),
    announce: Callable[[Running], str] | None = None,
) -> None:
    """Run everything until `stopping` is set, with what is to run `beside` it, then stop it in order.

    `announce` says what people are told when it runs: where everything is and what to try, if it is not given.

    Raises what a first start raises: BrokerError (also where the directory holds another kind of log), StoreError,
    ModelError, TopicsDiffer, each with what to do.
    """
    refuse_other_log(job.data_dir, with_kafka=job.with_kafka)
    job = replace(job, settings=with_kept_shards(job.settings, job.data_dir, with_kafka=job.with_kafka))
    store = StorePart(job.data_dir)
    store.claim()
    try:
        get_ready_for_others(watcher, stopping)
        if not stopping.is_set():
            _run_parts(job, store, first_key, watcher, say, stopping, beside, announce)
    finally:
        store.give_back()


def _run_parts(
    job: UpJob,
    store: StorePart,
    first_key: FirstKey,
    watcher: Steps,
    say: Callable[[str], None],
    stopping: threading.Event,
    beside: Sequence[Part],
    announce: Callable[[Running], str] | None,
) -> None:
    """In a directory that is claimed."""
    kafka = KafkaPart(job, say) if job.with_kafka else None
    worker, api = WorkerPart(job, store, kafka), ApiPart(job, store, kafka, first_key)
    services = (worker, api, DeliverPart(job, store, kafka), CampaignsPart(job, store, kafka))
    parts: tuple[Part, ...] = (store, *([] if kafka is None else [kafka]), *services, *beside)
    supervisor = Supervisor(parts, say)
    untold = True
    try:
        with watcher.step(f"Starting store{'' if kafka is None else ', Kafka'}, worker, API, webhooks and campaigns"):
            supervisor.start(stopping)
        try:
            if not stopping.is_set():
                found = Running(job, kafka, worker.served.web, api.served.web, api.key)
                say(where_words(*found) if announce is None else announce(found))
                untold = False
            supervisor.run(stopping)
        finally:
            with watcher.step("Stopping"):
                supervisor.stop()
    finally:
        if untold and api.key is not None:  # it is there, and nobody could use it
            say("\n".join(["A key for the API was made before that:", *_key_lines(job, api.key)]))


def where_words(job: UpJob, kafka: KafkaPart | None, worker: str, api: str, key: str | None) -> str:
    """Where everything is, and what to try first, with an event of the catalog's own."""
    shards = job.settings.shards
    events = f"events in {shards} partition{'' if shards == 1 else 's'}"
    address = (
        f"  Kafka    {kafka.address} ({events})" if kafka else f"  log      {job.data_dir / LOG_FOLDER} ({events})"
    )
    return "\n".join(
        [
            "Running; Ctrl-C ends it, and what it holds stays.",
            address,
            f"  worker   {worker}/readyz, {worker}/metrics; what it says is in {job.data_dir / 'worker.log'}",
            f"  API      {api}, {api}/openapi.json; what it says is in {job.data_dir / 'api.log'}",
            f"  console  {api}/console, in a browser; sign in with a key",
            *_key_lines(job, key),
            f"  store    {job.data_dir}",
            "Try, in another terminal. First history, from the oldest event on; yours or that of a simulated shop:",
            *(_kafka_history(job, kafka.address) if kafka else _log_history(job)),
            "Then live events, and what comes of them; history that is sent behind them counts little:",
            *_live_commands(load_catalog(job.catalog), api, key),
            f"  tideline lag{_log_option(job, kafka)}",
            f"  tideline tail segment-events --from-start{_log_option(job, kafka)}",
        ]
    )


def _data_dir(job: UpJob) -> str:
    return f"--data-dir {shlex.quote(str(job.data_dir))}"


def _key_lines(job: UpJob, key: str | None) -> list[str]:
    more = f"tideline keys create --role ingest --name shop {_data_dir(job)}"
    if key is None:
        return [f"  keys     those that were made before; one more: {more}"]
    return [
        "  key      may do everything, and is shown this once:",
        f"           {key}",
        f"           one that may only send events: {more}",
    ]


def _live_commands(catalog: Catalog, api: str, key: str | None) -> list[str]:
    """With an event that the catalog knows: the first that a goal of it is about."""
    event = next(atom.event for prediction in catalog.predictions.values() for atom in prediction.goal.atoms)
    call = json.dumps({"userId": "ann", "event": event}, ensure_ascii=False)
    return [
        f"  KEY={'...' if key is None else key}",
        f"  curl -u $KEY: {api}/v1/track -H 'Content-Type: application/json' -d {shlex.quote(call)}",
        f"  curl -N -H \"Authorization: Bearer $KEY\" '{api}/v1/stream?from=start'",
    ]


def _log_option(job: UpJob, kafka: KafkaPart | None) -> str:
    """What names the log to a command; for Kafka the settings do."""
    return f" {_data_dir(job)}" if kafka is None else ""


def _kafka_history(job: UpJob, address: str) -> list[str]:
    return [
        f"  export TIDELINE_KAFKA_BOOTSTRAP_SERVERS={address} TIDELINE_SHARDS={job.settings.shards}",
        f"  tideline produce FILE -c {shlex.quote(str(job.catalog))}",
        "  tideline simulate --users 2000 --days 60 --out kafka",
    ]


def _log_history(job: UpJob) -> list[str]:
    where = _data_dir(job)
    return [
        f"  tideline produce FILE -c {shlex.quote(str(job.catalog))} {where}",
        f"  tideline simulate --users 2000 --days 60 --out log {where}",
    ]


def cache_folder() -> Path:
    """Where programs are kept that are downloaded once for all data directories."""
    return Path("~/.cache/tideline").expanduser()
