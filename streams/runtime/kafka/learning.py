"""The learning service: every partition of the examples has the learner of the predictions in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS
from streams.runtime.definitions import Wanted
from streams.runtime.joining import Pasts
from streams.runtime.kafka.partitions import PartitionedService
from streams.runtime.learner_run import LearnerRun
from streams.runtime.records import Record, Run
from streams.runtime.shard_run import Ports

BATCH_CHUNKS: Final = 64


class LearningService(PartitionedService):
    """Consumes chunks of examples, and commits models and snapshots."""

    accepts_gaps = True  # a learner counts what it has missed, and learns on

    def __init__(
        self,
        settings: Settings,
        wanted: Wanted,
        *,
        make_ports: Callable[[], Ports],
        codec: ModelCodec | None,
        pasts: Pasts | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            settings,
            "examples",
            f"{settings.kafka_group}-learners",
            wanted=EXAMPLES_PARTITIONS,
            batch=BATCH_CHUNKS,
            **options,
        )
        self._live = wanted
        self._make_ports = make_ports
        self._codec = codec
        self._pasts = pasts

    def make_run(self, number: int) -> Run:
        """See `PartitionedService`."""
        ports = replace(self._make_ports(), is_let_go=partial(self.is_let_go, number))
        self.stores[number] = ports.store
        return LearnerRun(
            self._live,
            ports,
            partition=number,
            every=self.settings.shards,  # about one snapshot an hour: every shard sends a chunk then
            codec=self._codec,
            source=f"{self.topic} {number}",
            pasts=self._pasts,
        )

    def step(self, run: Run, records: Sequence[Record], now_s: float | None) -> None:  # noqa: ARG002  time does not matter
        """See `PartitionedService`."""
        assert isinstance(run, LearnerRun)
        run.step(records)
