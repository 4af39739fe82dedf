"""The learner: takes labelled examples in order, gives snapshots, judges what was served.

One learner stands behind a set of shards. Per prediction it holds the model, its warm-up
(models/warmup.py) and its quality (models/quality.py). Everything in it follows from the chunks and
their order alone: the same chunks give the same bits, whatever is saved and loaded in between.

- The numbers of a prediction's chunks grow per shard, and each names the one before it. A number that was seen is
  skipped, so a chunk may be handed over twice; one whose predecessor was not seen is an error, because what that
  held would be missing. With `accept_gaps` (a log that does not keep everything for ever) it is counted in `missed`.
- Examples of events and of silent moments are learned in the order of the chunk; crossings are judged
  and not learned. An example whose features are not finite, or whose weight is not above 0, is refused
  and counted: one of them would turn every weight into NaN.
- Status: `WARMING` until warm-up is over; the first snapshot after that says `BUILDING`, every later
  version `LIVE`. From `BUILDING` on a shard serves the model, with the F of its own users at first.
- Quality begins where serving began: what the model would have said while warming up was said to nobody.
  A chunk does not tell, but the one that ended warm-up came `label_delay_s` after its last moment, and
  going live takes two hours at most.
- The default model is the compiled pipeline; a river model of the catalog runs as it is, linear ones are
  folded into weights, others go into the snapshot as copies, made anew only after they have learned.

Bounds: the model, `warmup.CAPACITY` rows while warming, `quality.MAX_WEEKS` packed weeks per prediction.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from config.catalog import Catalog
from config.errors import ModelError, SnapshotRefused
from config.predictions import RiverModel
from models.examples import KIND_CROSSING, ExampleChunk
from models.jit import F32, I64, U8, jit
from models.pipeline import CompiledLogistic, LogisticParams
from models.quality import Quality
from models.snapshot import ModelCodec, PredictionSnapshot, Snapshot, Status
from models.warmup import Warmup

if TYPE_CHECKING:
    from models.rivermodels import RiverClassifier

Model: TypeAlias = "CompiledLogistic | RiverClassifier"

FORMAT: Final = 2
GOING_LIVE_S: Final = 2 * 3_600.0
"""At most: an hour until labels are handed out, and an hour until the shards serve (in lock-step they do at once)."""


@dataclass(frozen=True, slots=True)
class PredictionSpec:
    """What the learner must know of a prediction. `memory_examples` None: never forgets."""

    id: str
    model: Literal["logistic"] | RiverModel = "logistic"
    memory_examples: int | None = 500_000
    min_goals: int = 100
    """Different users who must have reached the goal before warm-up can end."""
    label_delay_s: float = 0.0
    """From a moment to its label: window and lateness."""


def prediction_specs(catalog: Catalog) -> tuple[PredictionSpec, ...]:
    """Of all predictions, in the catalog's order."""
    return tuple(
        PredictionSpec(
            name,
            prediction.model,
            prediction.memory_examples,
            label_delay_s=prediction.window_s + catalog.time.lateness_s,
        )
        for name, prediction in catalog.predictions.items()
    )


class Learner:
    """Learns the predictions of `specs` over features with the given names, in column order.

    `codec` signs and checks stored river models (rivermodels.SignedPickle); without one, state and snapshots
    of models that are not numbers are refused. Raises ModelUnknown for a river model that does not exist.
    """

    def __init__(
        self,
        specs: Sequence[PredictionSpec],
        feature_names: Sequence[str],
        codec: ModelCodec | None = None,
        *,
        accept_gaps: bool = False,
    ) -> None:
        if len({spec.id for spec in specs}) != len(specs):
            raise ModelError("two predictions have the same id")
        self.feature_names = tuple(feature_names)
        self.predictions = tuple(PredictionLearner(spec, self.feature_names, accept_gaps) for spec in specs)
        self._codec = codec
        self._saves_all = False
        """Nothing of it is stored where it will be saved next."""

    @property
    def needs_signing_key(self) -> bool:
        """Whether a model can only be stored as a signed pickle, so that a `codec` is needed."""
        return not all(isinstance(prediction.model, CompiledLogistic) for prediction in self.predictions)

    def adopt(self, other: "Learner", predictions: Collection[str], places: Sequence[int]) -> None:
        """Take over some predictions of `other`; `places` [F]: where each feature of this learner stands there, or -1.

        `other` must not be used any more. Raises ModelError for a river model over other features.
        """
        theirs = {learner.spec.id: learner for learner in other.predictions if learner.spec.id in predictions}
        same = list(places) == list(range(len(other.feature_names)))
        for learner in theirs.values():
            if not same:
                learner.take_features(places, self.feature_names)
        self.predictions = tuple(theirs.get(learner.spec.id, learner) for learner in self.predictions)
        self._saves_all = True

    def over(self, feature_names: Sequence[str], places: Sequence[int]) -> "Learner":
        """The same learner over other features; see `adopt`. This one must not be used any more."""
        moved = Learner([learner.spec for learner in self.predictions], feature_names, self._codec)
        moved.adopt(self, [learner.spec.id for learner in self.predictions], places)
        return moved

    def learn(self, chunk: ExampleChunk) -> bool:
        """Judges and learns one chunk; does nothing for one that was seen. Whether it was new.

        Raises ModelError when the prediction is unknown, a number is missing before this one, or the
        features are not those of this learner.
        """
        if chunk.prediction >= len(self.predictions):
            raise ModelError(f"a chunk is for prediction {chunk.prediction}; there are {len(self.predictions)}")
        if chunk.x.shape[1] != len(self.feature_names):
            raise ModelError(f"a chunk has {chunk.x.shape[1]} features; the learner has {len(self.feature_names)}")
        return self.predictions[chunk.prediction].learn(chunk)

    def snapshot(self, version: int, counts: I64) -> Snapshot:
        """All models as they are now, with the distribution F, int64[P, BINS], as `version`."""
        predictions = tuple(prediction.snapshot(version) for prediction in self.predictions)
        return Snapshot(version, predictions, counts.astype(np.int64))

    def state(self) -> dict[str, bytes]:
        """Named fields from which `load` restores bit for bit; numbers only, but for signed river models.

        Raises SnapshotRefused for a river model when there is no codec.
        """
        return {
            name: data
            for prediction in self.predictions
            for name, data in self._fields_of(prediction, changed_only=False).items()
        }

    def take_changes(self) -> dict[str, bytes]:
        """The fields of `state` that changed since the last call; empty bytes for one to be dropped.

        Laid over what was stored before, they are the state. Raises as `state` does.
        """
        fields: dict[str, bytes] = {}
        for prediction in self.predictions:
            fields |= self._fields_of(prediction, changed_only=not (self._saves_all and prediction.has_learned))
            prediction.mark_saved()
        self._saves_all = False
        return fields

    def state_names(self) -> set[str]:
        """Names of the fields of the predictions that have learned anything."""
        return {
            name
            for prediction in self.predictions
            if prediction.has_learned
            for name in self._fields_of(prediction, changed_only=False)
        }

    @classmethod
    def load(
        cls,
        specs: Sequence[PredictionSpec],
        feature_names: Sequence[str],
        fields: Mapping[str, bytes],
        codec: ModelCodec | None = None,
        *,
        accept_gaps: bool = False,
    ) -> "Learner":
        """The learner that gave `fields`; a prediction without any starts anew.

        Raises ModelError when fields are broken, of an unknown prediction or of other features, and
        SnapshotRefused when a river model has no valid signature.
        """
        learner = cls(specs, feature_names, codec, accept_gaps=accept_gaps)
        sorted_out: dict[str, dict[str, bytes]] = {}
        for name, data in fields.items():
            prediction, _, rest = name.partition(":")
            if data:
                sorted_out.setdefault(prediction, {})[rest] = data
        unknown = sorted(sorted_out.keys() - {spec.id for spec in specs})
        if unknown:
            raise ModelError(f"stored state is of predictions that do not exist: {', '.join(unknown)}")
        for part in learner.predictions:
            if part.spec.id in sorted_out:
                part.restore(sorted_out[part.spec.id], codec)
        return learner

    def _fields_of(self, prediction: "PredictionLearner", *, changed_only: bool) -> dict[str, bytes]:
        fields = prediction.state(self._codec, changed_only=changed_only)
        return {f"{prediction.spec.id}:{name}": data for name, data in fields.items()}


class PredictionLearner:
    """One prediction of a learner; read it for figures, and learn through `Learner`."""

    def __init__(self, spec: PredictionSpec, feature_names: tuple[str, ...], accept_gaps: bool = False) -> None:
        self.spec = spec
        self._accept_gaps = accept_gaps
        self.model: Model = _new_model(spec, feature_names)
        self.warmup = Warmup(spec.min_goals)
        self.quality = Quality()
        self.learned = 0
        self.goals = 0
        """Learned examples whose goal happened."""
        self.refused = 0
        """Examples that could not be learned: not finite, or without a weight."""
        self.missed = 0
        """How often a chunk, or several in a row, had not come when the next one did."""
        self._seen: dict[int, int] = {}
        self._building: int | None = None
        self.served_from_s = math.inf
        """From when on likelihoods are served, seconds since 1970 UTC; infinite while it warms up."""
        self._made: tuple[tuple[int, Status], PredictionSnapshot] | None = None
        self._changed = False

    @property
    def has_learned(self) -> bool:
        """Whether any chunk has come."""
        return bool(self._seen)

    def learn(self, chunk: ExampleChunk) -> bool:
        """Whether the chunk was new."""
        seen = self._seen.get(chunk.shard, 0)
        if chunk.number <= seen:
            return False
        if chunk.previous > seen:
            if not self._accept_gaps:
                raise ModelError(
                    f"{self.spec.id}: chunk {chunk.number} of shard {chunk.shard} follows {seen}, not "
                    f"{chunk.previous}: what lies between is missing"
                )
            self.missed += 1
        usable = np.empty(len(chunk), np.bool_)
        refused = _find_usable(np.ascontiguousarray(chunk.x), chunk.y, chunk.weight, usable)
        if refused:
            self.refused += refused
            chunk = chunk.take(usable)
        self.quality.add(chunk, self.served_from_s)
        self._warm_up(chunk)
        self._seen[chunk.shard] = chunk.number
        self._changed = True
        crossing = chunk.kind == KIND_CROSSING
        if crossing.any():
            chunk = chunk.take(~crossing)
        self.model.learn_many_in_order(chunk.x, chunk.y, chunk.weight)
        self.learned += len(chunk)
        self.goals += int(np.count_nonzero(chunk.y))
        return True

    def go_on_after(self, seen: Mapping[int, int]) -> None:
        """What was learned apart goes on in a service: chunks up to these numbers, by shard, are in it.

        Versions are counted anew there.
        """
        self._seen = dict(seen)
        self._building = None if self._building is None else 0
        self._made, self._changed = None, True

    def take_features(self, places: Sequence[int], names: tuple[str, ...]) -> None:
        """Go on over other features, as `CompiledLogistic.over` says."""
        if isinstance(self.model, CompiledLogistic):
            self.model = self.model.over(places)
        elif self.learned:
            raise ModelError(f"{self.spec.id}: a river model cannot go on with other features")
        else:
            self.model = _new_model(self.spec, names)
        self._made = None

    def _warm_up(self, chunk: ExampleChunk) -> None:
        had_left = self.warmup.left
        self.warmup.add(chunk)
        if self.warmup.left and not had_left:
            self.served_from_s = float(chunk.time_s.max()) + self.spec.label_delay_s + GOING_LIVE_S

    def snapshot(self, version: int, *, built: bool = True) -> PredictionSnapshot:
        """The model as `version`. `built`: all shards have counted their users anew; before that nothing is LIVE."""
        if self.warmup.left and self._building is None:
            self._building = version
            self._changed = True
        status = Status.WARMING
        if self._building is not None:
            status = Status.LIVE if built and version > self._building else Status.BUILDING
        made_from = (self.learned, status)
        if self._made is None or self._made[0] != made_from:
            self._made = (made_from, self._make(status))
        return replace(self._made[1], version=version)

    def _make(self, status: Status) -> PredictionSnapshot:
        folded = self.model.fold()
        model = None
        if folded is None:
            folded = np.zeros(self.model.features), 0.0
            model = None if isinstance(self.model, CompiledLogistic) else self.model.copy()
        return PredictionSnapshot(status, *folded, self.model.means.copy(), self.learned, self.goals, model)

    def state(self, codec: ModelCodec | None, *, changed_only: bool) -> dict[str, bytes]:
        if changed_only and not self._changed:
            return {}
        counts = self.learned, self.goals, self.refused, self.missed
        head = _Head(FORMAT, self.model.features, self._seen, *counts, self._building, self.served_from_s)
        fields = {"head": msgspec.msgpack.encode(head), "model": self._model_bytes(codec)}
        fields |= {f"warmup:{k}": v for k, v in self.warmup.state(changed_only=changed_only).items()}
        fields |= {f"quality:{k}": v for k, v in self.quality.state(changed_only=changed_only).items()}
        return fields

    def mark_saved(self) -> None:
        self._changed = False
        self.warmup.mark_saved()
        self.quality.mark_saved()

    def restore(self, fields: Mapping[str, bytes], codec: ModelCodec | None) -> None:
        try:
            head = msgspec.msgpack.decode(fields["head"], type=_Head)
            model = fields["model"]
        except (KeyError, msgspec.DecodeError) as error:
            raise ModelError(f"{self.spec.id}: the stored learner cannot be read: {error!r}") from error
        if head.format != FORMAT:
            raise ModelError(f"{self.spec.id}: learner format {head.format} is not the known one, {FORMAT}")
        if head.features != self.model.features:
            raise ModelError(f"{self.spec.id}: {head.features} features are stored, there are {self.model.features}")
        self._restore_model(model, codec)
        self.warmup = Warmup.load(_below("warmup:", fields))
        self.quality = Quality.load(_below("quality:", fields))
        self._seen, self._building, self.served_from_s = head.seen, head.building, head.served_from_s
        self.learned, self.goals = head.learned, head.goals
        self.refused, self.missed = head.refused, head.missed

    def _model_bytes(self, codec: ModelCodec | None) -> bytes:
        if isinstance(self.model, CompiledLogistic):
            return self.model.to_bytes()
        if codec is None:
            raise SnapshotRefused(
                f"{self.spec.id} uses a river model, which can only be stored as a signed pickle: "
                "set TIDELINE_SIGNING_KEY, or use the model `logistic`"
            )
        return codec.dumps(self.model)

    def _restore_model(self, data: bytes, codec: ModelCodec | None) -> None:
        if isinstance(self.model, CompiledLogistic):
            model: object = CompiledLogistic.from_bytes(data)
        elif codec is None:
            raise SnapshotRefused(
                f"{self.spec.id} has a stored river model, and without a key its signature cannot be checked: "
                "set TIDELINE_SIGNING_KEY to the key it was signed with"
            )
        else:
            model = codec.loads(data)
        if type(model) is not type(self.model) or _identity(model) != _identity(self.model):
            raise ModelError(f"{self.spec.id}: the stored model is not the one that the catalog asks for")
        self.model = model


class _Head(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    features: int
    seen: dict[int, int]
    learned: int
    goals: int
    refused: int
    missed: int
    building: int | None
    served_from_s: float


def _new_model(spec: PredictionSpec, feature_names: tuple[str, ...]) -> Model:
    if spec.model == "logistic":
        return CompiledLogistic(len(feature_names), LogisticParams(memory_examples=spec.memory_examples))
    from models.rivermodels import build

    chosen = spec.model
    memory = spec.memory_examples
    return build(chosen.river, chosen.params, feature_names, scale=chosen.scale, memory_examples=memory)


def _identity(model: Model) -> object:
    """What must be equal for a stored model to go on as this one."""
    if isinstance(model, CompiledLogistic):
        return model.features, model.params
    return model.names, model.memory_examples, model.kind


def _below(prefix: str, fields: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix(prefix): data for name, data in fields.items() if name.startswith(prefix)}


@jit
def _find_usable(x: F32, y: U8, weight: F32, usable: npt.NDArray[np.bool_]) -> int:
    """Marks the examples that can be learned; the number of the others."""
    refused = 0
    for row in range(x.shape[0]):
        # A product with 0 is NaN for what is not finite, and one sum tells without a branch per feature.
        total = 0.0
        for i in range(x.shape[1]):
            total += float(x[row, i]) * 0.0
        usable[row] = total == 0.0 and y[row] <= 1 and 0.0 < weight[row] < np.inf
        if not usable[row]:
            refused += 1
    return refused
