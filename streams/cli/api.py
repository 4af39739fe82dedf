"""`tideline api`: the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import DataDir, Embedded, ShardsOnKafka, Store, chosen_log, find_place
from streams.cli.screen import begin_logs, guarded

EXAMPLES = (
    ("tideline api", "events into the embedded log of .tideline, at http://127.0.0.1:8080"),
    ("tideline api --kafka broker:9092 --store redis://localhost:6379/0 --host 0.0.0.0", "beside workers on Kafka"),
)


@guarded()
def api(
    store: Store = None,
    data_dir: DataDir = None,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="HOST:PORT", help="Put events into the Kafka there, not the embedded log."),
    ] = None,
    embedded: Embedded = False,
    shards: ShardsOnKafka = None,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="Address to listen at (127.0.0.1, or TIDELINE_API_HOST)."),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="PORT", help="The port of that (8080).")] = None,
) -> None:
    """Take events over HTTP, in the shape of Segment's API, and answer what is stored.

    Needs keys: see tideline keys. Several may run beside each other. SIGTERM and Ctrl-C finish the requests in hand.
    docs/api.md describes every route.
    """
    from config.settings import load_settings
    from streams.api.serve import ApiJob, run_api
    from streams.console.app import console_at

    settings = load_settings(
        kafka_bootstrap_servers=kafka,
        api_log=chosen_log(kafka, embedded=embedded),
        redis_url=store,
        data_dir=data_dir,
        shards=shards,
        api_host=host,
        api_port=port,
    )
    place, codec = find_place(store, data_dir)
    said = begin_logs(settings)
    run_api(
        ApiJob(settings, place, codec),
        said.say,
        console_at,
    )
