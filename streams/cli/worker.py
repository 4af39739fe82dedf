"""`tideline worker`: score and learn from Kafka, or from an embedded log."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from streams.cli.options import CatalogFile, DataDir, Store, chosen_log, find_place
from streams.cli.screen import begin_logs, guarded

EXAMPLES = (
    ("tideline worker -c shop.yaml --store redis://localhost:6379/0", "one of several that share the partitions"),
    ("tideline worker -c shop.yaml --shards 12", "events in 12 partitions, its own Valkey server"),
    ("tideline worker -c shop.yaml --embedded --data-dir shop", "without Kafka: store and log in one directory"),
)


@guarded()
def worker(
    catalog: CatalogFile,
    store: Store = None,
    data_dir: DataDir = None,
    kafka: Annotated[
        str | None,
        typer.Option(
            "--kafka", metavar="HOST:PORT", help="Brokers of the Kafka (localhost:9092, or what the settings say)."
        ),
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="No Kafka: the log is in the data directory, and this worker is alone.")
    ] = False,
    shards: Annotated[
        int | None, typer.Option("--shards", min=1, help="Partitions of the events (1, or TIDELINE_SHARDS).")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Of /healthz, /readyz and /metrics (6066).")
    ] = None,
) -> None:
    """Score events as they come, learn, and send transitions: from Kafka to Kafka, or in an embedded log.

    Runs until it is stopped. On Kafka start several, on any machines: they share the partitions among themselves, one
    more than there are stands by, and all use the same store. SIGTERM and Ctrl-C finish the batch in hand and hand
    over. Starting again is safe at any time: everything is in the store.
    """
    from config.loader import load_catalog
    from config.settings import load_settings
    from streams.runtime.worker_log import quiet_others
    from streams.runtime.worker_stores import WorkerJob

    if embedded:
        from streams.runtime.embedded.worker import run_embedded_worker as run_worker
    else:
        from streams.runtime.kafka.worker import run_worker
    chosen_log(kafka, embedded=embedded)

    settings = load_settings(
        kafka_bootstrap_servers=kafka, redis_url=store, data_dir=data_dir, web_port=port, shards=shards
    )
    place, codec = find_place(store, data_dir)
    file = "" if embedded else f"{catalog.resolve()} on {socket.gethostname()}"  # an embedded one has no others
    job = WorkerJob(settings, load_catalog(catalog), place, codec, file)
    said = begin_logs(settings)
    quiet_others()
    run_worker(job, said.watcher, said.say)
