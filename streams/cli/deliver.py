"""`tideline deliver`: transitions to webhooks."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import DataDir, Embedded, Store, chosen_log, find_place
from streams.cli.screen import begin_logs, guarded

EXAMPLES = (
    ("tideline deliver --data-dir .tideline/up", "what a worker on the embedded log there says"),
    ("tideline deliver --kafka broker:9092 --store redis://localhost:6379/0", "beside workers on Kafka"),
)


@guarded()
def deliver(
    store: Store = None,
    data_dir: DataDir = None,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="HOST:PORT", help="Transitions of the Kafka there, not the embedded log."),
    ] = None,
    embedded: Embedded = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=1, max=65_535, help="Of /healthz, /readyz and /metrics (6067)."),
    ] = None,
) -> None:
    """Send transitions to webhooks, signed, until they are taken. They are made in the API: docs/webhooks.md.

    Scoring does not wait for it, and loses nothing while it is away. One of several processes delivers, the others
    stand by and take over. SIGTERM and Ctrl-C end it; starting again is safe at any time.
    """
    from config.settings import load_settings
    from streams.adapters.log_feed import EmbeddedTransitionLog
    from streams.adapters.log_folder import LogFolder
    from streams.ports import TransitionLog
    from streams.runtime.deliveries.serve import DeliverJob, run_deliveries

    settings = load_settings(
        kafka_bootstrap_servers=kafka,
        api_log=chosen_log(kafka, embedded=embedded),
        redis_url=store,
        data_dir=data_dir,
        webhooks_port=port,
    )
    place, _ = find_place(store, data_dir)

    def open_log() -> TransitionLog:
        if settings.api_log == "kafka":
            from streams.adapters.kafka_feed import KafkaTransitionLog

            return KafkaTransitionLog(settings)
        return EmbeddedTransitionLog(lambda: LogFolder.find(place.data_dir))

    said = begin_logs(settings)
    job = DeliverJob(settings, place, open_log)
    run_deliveries(job, said.say)
