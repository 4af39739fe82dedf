"""Tideline beside the oracle: the same simulated users, judged at Tideline's own moments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from config.catalog import Catalog
from config.durations import DAY_S
from config.loader import load_catalog
from models.examples import KIND_EVENT, KIND_SILENT, ExampleChunk
from models.metrics import expected_over_observed, roc_auc
from streams.core.decode import build_decoder
from streams.core.events import Event
from streams.core.ledger import cluster_id
from streams.runtime.lockstep import LockStep
from streams.simulate.pacing import AtOnce
from streams.simulate.records import Record, user_id
from streams.simulate.run import Plan, run_simulation
from streams.simulate.shop import ORDERED, build_shop
from streams.simulate.traffic import Traffic
from streams.simulate.truth import Truth

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 1_704_067_200.0
WINDOW_S = 7 * DAY_S
PREDICTION = "orders_7d"
BATCH = 4_096

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """`n` moments of Tideline, with what was said of them and what came."""

    kind: npt.NDArray[np.uint8]
    y: npt.NDArray[np.uint8]
    said: dict[str, F64]
    """true, oracle, tideline, heuristic -> [n]; the last one is a rank, no likelihood."""

    def of(self, kind: int) -> Judged:
        """Only the moments of a kind."""
        rows = self.kind == kind
        return Judged(self.kind[rows], self.y[rows], {name: values[rows] for name, values in self.said.items()})

    def auc(self, name: str) -> float:
        """ROC AUC."""
        found = roc_auc(self.y, self.said[name])
        assert found is not None
        return found

    def calibration(self, name: str) -> float:
        """Expected over observed."""
        found = expected_over_observed(self.y, self.said[name])
        assert found is not None
        return found


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.closed = False

    def send(self, records: list[Record]) -> None:
        self.records += records

    def close(self) -> None:
        self.closed = True


def simulated(plan: Plan) -> list[Record]:
    """All records of a plan."""
    sink = Recorder()
    run_simulation(plan, sink, AtOnce())
    return sink.records


def shop_catalog(prediction: str) -> Catalog:
    """The example's catalog with this prediction alone."""
    catalog = load_catalog(ROOT / "examples" / "shop" / "catalog.yaml")
    limits = catalog.limits.model_copy(update={"pending_examples": 10_000_000})
    only = {prediction: catalog.predictions[prediction]}
    return catalog.model_copy(update={"predictions": only, "segments": {}, "limits": limits})


def judge(users: int, days: int, seed: int, from_day: float) -> Judged:
    """Run users through simulation and Tideline; the moments from `from_day` on whose label is known."""
    plan = Plan(users=users, days=days, start_ms=round(START_S * 1_000), seed=seed)
    chunks = _examples(simulated(plan))
    joined = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("time_s", "user", "y", "kind", "likelihood", "heuristic")
    }
    wanted = ((joined["kind"] == KIND_EVENT) | (joined["kind"] == KIND_SILENT)) & (
        joined["time_s"] >= START_S + from_day * DAY_S
    )
    column = {name: values[wanted] for name, values in joined.items()}
    true, oracle = _truth(plan, column["user"], column["time_s"])
    said = {
        "true": true,
        "oracle": oracle,
        "tideline": column["likelihood"].astype(np.float64),
        "heuristic": column["heuristic"].astype(np.float64),
    }
    return Judged(column["kind"], column["y"], said)


def _examples(records: list[Record]) -> list[ExampleChunk]:
    catalog = shop_catalog(PREDICTION)
    decoder = build_decoder(catalog)
    chunks: list[ExampleChunk] = []
    engine = LockStep(catalog, on_chunk=chunks.append)
    for at in range(0, len(records), BATCH):
        events = [decoder.decode(raw, at + n, None, at + n + 1) for n, (_, raw) in enumerate(records[at : at + BATCH])]
        assert all(isinstance(event, Event) for event in events)
        engine.take(events)
        engine.effects(at + 1, b"")
    return chunks


def _truth(plan: Plan, keys: npt.NDArray[np.uint64], time_s: F64) -> tuple[F64, F64]:
    """True and best likelihood at these moments."""
    number = {cluster_id(b"", user_id(user)): user for user in range(plan.users)}
    user = np.array([number[key] for key in keys.tolist()], np.int64)
    ms = np.round((time_s - START_S) * 1_000.0).astype(np.int64)
    traffic = Traffic(build_shop(), plan.users, seed=plan.seed, arrive_s=plan.arrive_s)
    truth = Truth(traffic, ORDERED, WINDOW_S)
    moments = truth.at(traffic.until(plan.end_ms), user, ms)
    return moments.true, moments.oracle
