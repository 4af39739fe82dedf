"""`tideline campaigns`: messages to people, decided and delivered."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import DataDir, Embedded, ShardsOnKafka, Store, chosen_log, find_place
from streams.cli.screen import begin_logs, guarded

EXAMPLES = (
    ("tideline campaigns --data-dir .tideline/up", "what a worker on the embedded log there says"),
    ("tideline campaigns --kafka broker:9092 --store redis://localhost:6379/0", "beside workers on Kafka"),
)


@guarded()
def campaigns(
    store: Store = None,
    data_dir: DataDir = None,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="HOST:PORT", help="Events and transitions of the Kafka there."),
    ] = None,
    embedded: Embedded = False,
    shards: ShardsOnKafka = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=1, max=65_535, help="Of /healthz, /readyz and /metrics (6068)."),
    ] = None,
) -> None:
    """Decide who gets which message of a campaign, and deliver it by the channels. docs/campaigns.md says how.

    Scoring does not wait for it, and nothing is lost while it is away; what is stale by then is not sent. On Kafka
    several share the partitions; on the embedded log one works, and others stand by. One of them delivers. SIGTERM and
    Ctrl-C end it; starting again is safe at any time.
    """
    from config.settings import load_settings
    from streams.runtime.campaigns.serve import CampaignsJob, run_campaigns

    settings = load_settings(
        kafka_bootstrap_servers=kafka,
        api_log=chosen_log(kafka, embedded=embedded),
        redis_url=store,
        data_dir=data_dir,
        shards=shards,
        campaigns_port=port,
    )
    place, codec = find_place(store, data_dir)
    said = begin_logs(settings)
    run_campaigns(CampaignsJob(settings, place, codec), said.say)
