"""`tideline up`: the whole service on one machine."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.options import CatalogFile
from streams.cli.screen import TerminalWatcher, err, guarded, stop_on_signals

EXAMPLES = (
    ("tideline up -c examples/shop/catalog.yaml", "a shop, all of it in .tideline/up"),
    ("tideline up -c shop.yaml --shards 4 --data-dir /var/lib/tideline", "four partitions, kept there"),
    ("tideline up -c examples/shop/catalog.yaml --kafka", "with a real Kafka of its own"),
)


@guarded()
def up(  # noqa: PLR0913, PLR0917  one for each option
    catalog: CatalogFile,
    kafka: Annotated[
        bool,
        typer.Option(
            "--kafka",
            help="Run a real Kafka as the log (no Java needed; 45 MB are fetched the first time), in place of files.",
        ),
    ] = False,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards", min=1, help="Partitions of the events (1, or TIDELINE_SHARDS; later those it was begun with)."
        ),
    ] = None,
    data_dir: Annotated[Path, typer.Option("--data-dir", metavar="DIR", help="Where everything is kept.")] = Path(
        ".tideline/up"
    ),
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Of the worker's /readyz and /metrics (6066).")
    ] = None,
    api_port: Annotated[int | None, typer.Option("--api-port", metavar="PORT", help="Of the API (8080).")] = None,
    webhooks_port: Annotated[
        int | None,
        typer.Option("--webhooks-port", metavar="PORT", help="Of /readyz of what sends webhooks (6067)."),
    ] = None,
    campaigns_port: Annotated[
        int | None,
        typer.Option("--campaigns-port", metavar="PORT", help="Of /readyz of what runs campaigns (6068)."),
    ] = None,
    kafka_port: Annotated[
        int | None, typer.Option("--kafka-port", metavar="PORT", help="Of Kafka; else a free one, which it keeps.")
    ] = None,
) -> None:
    """Run the whole service on this machine: store, log, a worker, the API, what sends webhooks, and campaigns.

    All data are in one directory and are there again at the next start. What ends by itself is reported with its last
    words and started again. The very first start makes a key for the API and shows it, this once. Ctrl-C stops
    everything in order.
    """
    from config.errors import SettingsError
    from config.loader import load_catalog
    from config.settings import load_settings
    from streams.runtime.up import cache_folder, run_up
    from streams.runtime.up_parts import UpJob

    if kafka_port is not None and not kafka:
        raise SettingsError("--kafka-port is the port of a Kafka: add --kafka")
    load_catalog(catalog)  # before anything is started
    settings = load_settings(
        shards=shards,
        web_port=port,
        api_port=api_port,
        webhooks_port=webhooks_port,
        campaigns_port=campaigns_port,
    )
    job = UpJob(settings, catalog, data_dir, cache_folder(), kafka, kafka_port)
    stopping = threading.Event()
    stop_on_signals(stopping)
    console = err()

    def say(words: str) -> None:
        console.print(words, markup=False, highlight=False)

    run_up(job, lambda url: first_key(url, settings.key_prefix), TerminalWatcher(), say, stopping)


def first_key(url: str, prefix: str) -> str | None:
    """A key that may do everything, where no key was ever made; else None. Raises StoreError."""
    from streams.adapters.redis_api_keys import RedisApiKeys
    from streams.api.keys import Role, make_key

    with closing(RedisApiKeys(url, prefix=prefix)) as keys:
        if keys.all():
            return None
        key, record = make_key(Role.ADMIN, "made at the first start", time.time())
        keys.add(record)
        return key
