"""The scoring service: every partition of the events is a shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from config.settings import Settings
from models.snapshot import ModelCodec
from streams.runtime.behind_log import BehindLog
from streams.runtime.definitions import Wanted
from streams.runtime.joining import Pasts
from streams.runtime.kafka.partitions import PartitionedService
from streams.runtime.latest_models import LatestModels
from streams.runtime.records import Record, Run
from streams.runtime.refusal_log import RefusalLog
from streams.runtime.shard_run import Ports, ShardRun
from streams.runtime.traces import Traces
from streams.runtime.turns import Turn


class ScoringService(PartitionedService):
    """Consumes events, and commits scores and transitions. `make_ports` opens a store for one partition."""

    def __init__(
        self,
        settings: Settings,
        wanted: Wanted,
        *,
        make_ports: Callable[[], Ports],
        models: LatestModels,
        codec: ModelCodec | None,
        pasts: Pasts | None = None,
        traces: Traces | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            settings,
            "events",
            settings.kafka_group,
            wanted=settings.shards,
            batch=wanted.catalog.limits.batch_events,
            **options,
        )
        self._live = wanted
        self._make_ports = make_ports
        self._models = models
        self._codec = codec
        self._pasts = pasts
        self._traces = traces
        self.reads_traces = traces is not None
        self._turn = Turn()
        self._refusals, self._behind = RefusalLog(), BehindLog()

    def make_run(self, number: int) -> Run:
        """See `PartitionedService`."""
        ports = replace(
            self._make_ports(),
            tell=partial(self.tell, number),
            is_let_go=partial(self.is_let_go, number),
            turn=self._turn,
            traces=self._traces,
        )
        self.stores[number] = ports.store
        return ShardRun(
            self._live,
            ports,
            shard=number,
            shards=self.settings.shards,
            source=f"{self.topic}-{number}",
            codec=self._codec,
            pasts=self._pasts,
        )

    def is_due(self, run: Run) -> bool:
        """See `PartitionedService`: a shard has to go on under another catalog, also while nothing comes."""
        return isinstance(run, ShardRun) and run.catalog is not self._live.catalog

    def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:
        """See `PartitionedService`."""
        assert isinstance(run, ShardRun)
        run.step(records, self._models.latest, now_s)
        self._refusals.tell(run)
        self._behind.tell(run.number, run.arrived, time.monotonic())
