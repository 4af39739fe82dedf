"""Any classifier of river as a prediction's model: built from the catalog, run as it is, stored signed.

A classifier sees each example as river's models do: a dictionary from feature name to float, and True or
False. In front of it stands a scaler (`scale: true`), which forgets with `memory_examples`.

**Weights.** Where `learn_one` takes a weight `w`, it gets the example's. Where it takes none, an example
of weight k is learned round(k) times, at least once and at most 16 times: weights are 1 / keep rate, and
keep rates halve, so this is what would have been learned had nothing been left out.

**Chance.** A class with a `seed` gets seed 0 unless the catalog gives one: a replay must repeat.

**Linear ones** (`LogisticRegression`, `Perceptron`, scaled or not) are folded into one weight per raw
feature and a bias, so that shards score them as fast as the default. All others travel as objects.

**Pickles.** Such an object is stored as a pickle, and a pickle is code. So it is written only with a
signing key, and read only when its HMAC-SHA256 under that key is right, compared in constant time and
before a single byte is unpickled. As a second line of defence the unpickler finds nothing but river's
model classes, numpy's arrays and random states, and harmless builtins.
"""

import copy
import hashlib
import hmac
import importlib
import inspect
import io
import math
import pickle
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from river import base, compose, linear_model, optim, preprocessing

from config.errors import ModelError, ModelUnknown, SnapshotRefused
from models.forgetting import ForgettingStandardScaler
from models.jit import F32, F64, U8
from models.pipeline import fold
from models.snapshot import Likelihood

MAX_REPEATS: Final = 16
MIN_KEY_BYTES: Final = 16
FORMAT: Final = 1
_MAGIC: Final = b"tideline river model 1\n"
_MAC_BYTES: Final = 32
_VERSION_ERRORS: Final = (AttributeError, ImportError, EOFError, TypeError, ValueError, LookupError)
"""What a pickle of another version of river can run into."""
_BLIND: Final = frozenset(("river.linear_model.AdPredictor",))
_PATH: Final = re.compile(r"river(\.[a-z_][a-z0-9_]*)+\.[A-Z][A-Za-z0-9]*")


class RiverClassifier:
    """A river classifier over F named features. Raises ModelError when names repeat."""

    def __init__(
        self, classifier: base.Classifier | compose.Pipeline, names: Sequence[str], memory_examples: int | None = None
    ) -> None:
        if len(set(names)) != len(names):
            raise ModelError("feature names repeat")
        self.classifier: Any = classifier
        self.names = tuple(names)
        self.memory_examples = memory_examples
        self.examples = 0
        self.goals = 0
        self.means: F64 = np.zeros(len(names))
        """float64[F] of the learned examples, forgetting like the scaler."""
        self._takes_weights = _takes_weights(classifier)

    @property
    def features(self) -> int:
        return len(self.names)

    @property
    def kind(self) -> tuple[str, ...]:
        """Class names of the scaler, if there is one, and the classifier."""
        steps = self.classifier.steps.values() if isinstance(self.classifier, compose.Pipeline) else [self.classifier]
        return tuple(type(step).__qualname__ for step in steps)

    def learn_many_in_order(self, x: F32, y: U8, weight: F32) -> None:
        """Learns the rows of x float32[n, F] with labels uint8[n] and weights float32[n], first to last.

        Raises ValueError on other shapes, ModelError when the classifier cannot learn an example.
        """
        if x.ndim != 2 or x.shape[1] != self.features or not len(x) == len(y) == len(weight):
            raise ValueError(f"x must be float32[n, {self.features}] with n labels and weights")
        for row, label, w in zip(x.astype(np.float64), y.tolist(), weight.tolist(), strict=True):
            self.examples += 1
            self.goals += label
            self.means += (row - self.means) / min(self.examples, self.memory_examples or self.examples)
            self._learn(dict(zip(self.names, row.tolist(), strict=True)), bool(label), w)

    def likelihood(self, x_row: F32) -> float:
        """The likelihood of one row float32[F].

        0.5 before anything was learned; the rate of the learned examples where the classifier says NaN, as
        river's naive Bayes does for values that neither class can explain.
        """
        said = self.classifier.predict_proba_one(dict(zip(self.names, x_row.astype(np.float64).tolist(), strict=True)))
        if not said or not self.examples:
            return 0.5
        p = float(said.get(True, 0.0))
        if math.isnan(p):
            return self.goals / self.examples
        return min(max(p, 0.0), 1.0)

    def fold(self) -> tuple[F64, float] | None:
        """Weights float64[F] on raw features and the bias of a linear classifier; None for any other."""
        steps = list(self.classifier.steps.values()) if isinstance(self.classifier, compose.Pipeline) else []
        scaler, classifier = steps if len(steps) == 2 else (None, self.classifier)
        if not isinstance(classifier, linear_model.LogisticRegression):
            return None
        if not isinstance(classifier.loss, optim.losses.Log | optim.losses.Hinge):
            return None
        learned = classifier.weights
        weights = np.array([learned.get(name, 0.0) for name in self.names])
        if scaler is None:
            return weights, float(classifier.intercept)
        if not isinstance(scaler, preprocessing.StandardScaler) or scaler.window_size is not None:
            return None
        means = np.array([scaler.means.get(name, 0.0) for name in self.names])
        variances = np.array([scaler.vars.get(name, 0.0) for name in self.names])
        return fold(weights, float(classifier.intercept), means, variances)

    def copy(self) -> "RiverClassifier":
        """One that later learning does not change."""
        return copy.deepcopy(self)

    def _learn(self, x: dict[Any, Any], y: bool, weight: float) -> None:
        learner: Any = self.classifier
        try:
            if self._takes_weights:
                learner.learn_one(x, y, w=weight)
                return
            for _ in range(min(max(round(weight), 1), MAX_REPEATS)):
                learner.learn_one(x, y)
        except (ArithmeticError, ValueError) as error:
            name = type(_last_step(learner)).__name__
            raise ModelError(
                f"river's {name} cannot learn example {self.examples}: {error}; use another model"
            ) from error


def build(
    path: str,
    params: Mapping[str, Any],
    names: Sequence[str],
    *,
    scale: bool = True,
    memory_examples: int | None = None,
) -> RiverClassifier:
    """The classifier `path` (like `river.tree.HoeffdingTreeClassifier`) with `params`, over F feature names.

    Raises ModelUnknown, saying what to change, when there is no such class, it is not a classifier that gives
    likelihoods, or its parameters do not fit.
    """
    found = _find_class(path)
    accepted = inspect.signature(found).parameters
    unknown = sorted(set(params) - set(accepted))
    if unknown:
        raise ModelUnknown(f"{path} has no parameter {', '.join(unknown)}; it has: {', '.join(accepted)}")
    missing = [
        name for name, p in accepted.items()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and name not in params
    ]  # fmt: skip
    if missing:
        raise ModelUnknown(f"{path} needs {', '.join(missing)}: models around other models cannot be used here")
    seed = {"seed": 0} if "seed" in accepted else {}
    try:
        classifier = found(**{**seed, **params})
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelUnknown(f"{path} does not accept its parameters {dict(params)}: {error}") from error
    tags = classifier._tags  # noqa: SLF001  (river has no public way to ask)
    if base.tags.POSITIVE_INPUT in tags or base.tags.TEXT_INPUT in tags:
        raise ModelUnknown(f"{path} wants text, or numbers that are never negative; our features are any numbers")
    model: Any = ForgettingStandardScaler(memory_examples) | classifier if scale else classifier
    return RiverClassifier(model, names, memory_examples)


class SignedPickle:
    """Stores river classifiers as signed pickles. Raises ModelError when the key has fewer than 16 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ModelError(f"TIDELINE_SIGNING_KEY has {len(key)} bytes; at least {MIN_KEY_BYTES} are needed")
        self._key = key

    def dumps(self, model: Likelihood) -> bytes:
        """Magic, HMAC and content. Raises ModelError for anything but a `RiverClassifier`."""
        if not isinstance(model, RiverClassifier):
            raise ModelError(f"{type(model).__name__} is not a river classifier")
        means = model.means.astype("<f8").tobytes()
        pickled = pickle.dumps(model.classifier, protocol=5)
        wire = _Wire(FORMAT, list(model.names), model.memory_examples, model.examples, model.goals, means, pickled)
        content = msgspec.msgpack.encode(wire)
        return _MAGIC + self._mac(content) + content

    def loads(self, data: bytes) -> RiverClassifier:
        """Raises SnapshotRefused unless `data` was written by `dumps` with this key."""
        start = len(_MAGIC) + _MAC_BYTES
        if not data.startswith(_MAGIC) or len(data) < start:
            raise SnapshotRefused("these bytes are not a signed river model")
        content = data[start:]
        if not hmac.compare_digest(self._mac(content), data[len(_MAGIC) : start]):
            raise SnapshotRefused(
                "the signature of a stored river model is wrong: another TIDELINE_SIGNING_KEY, or changed"
            )
        try:
            wire = msgspec.msgpack.decode(content, type=_Wire)
            if wire.format != FORMAT:
                raise SnapshotRefused(f"river model format {wire.format} is not the known one, {FORMAT}")
            classifier = _Unpickler(io.BytesIO(wire.pickled)).load()
        except (msgspec.DecodeError, pickle.UnpicklingError, *_VERSION_ERRORS) as error:
            raise SnapshotRefused(f"a stored river model cannot be read by this version of river: {error}") from error
        if not isinstance(classifier, base.Classifier | compose.Pipeline):
            raise SnapshotRefused(f"a stored river model is a {type(classifier).__name__}")
        model = RiverClassifier(classifier, wire.names, wire.memory_examples)
        model.examples, model.goals = wire.examples, wire.goals
        model.means = np.frombuffer(wire.means, dtype="<f8").astype(np.float64)
        return model

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, _MAGIC + content, hashlib.sha256)


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    names: list[str]
    memory_examples: int | None
    examples: int
    goals: int
    means: bytes
    pickled: bytes


def _find_class(path: str) -> Any:
    if not _PATH.fullmatch(path):
        raise ModelUnknown(f"{path} is not the path of a river class, such as river.tree.HoeffdingTreeClassifier")
    module_name, _, class_name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelUnknown(f"river has no module {module_name}") from error
    found: Any = getattr(module, class_name, None)
    ancestors: tuple[Any, ...] = found.__mro__ if inspect.isclass(found) else ()
    if not ancestors or not found.__module__.startswith("river."):
        raise ModelUnknown(f"{module_name} has no class {class_name}")
    if base.Classifier not in ancestors or base.MultiLabelClassifier in ancestors:
        raise ModelUnknown(f"{path} is not a classifier")
    if path in _BLIND:
        raise ModelUnknown(f"{path} looks only at which features there are, and every user has all of ours")
    if inspect.isabstract(found) or found.__module__.startswith("river.active."):
        raise ModelUnknown(f"{path} cannot be used on its own")
    if found.predict_proba_one is base.Classifier.predict_proba_one:
        raise ModelUnknown(f"{path} gives no likelihoods")
    return found


def _last_step(classifier: Any) -> Any:
    return list(classifier.steps.values())[-1] if isinstance(classifier, compose.Pipeline) else classifier


def _takes_weights(classifier: Any) -> bool:
    return "w" in inspect.signature(_last_step(classifier).learn_one).parameters


def _method_of(owner: Any, name: str) -> Any:
    """Stands in for `getattr`, which river's pickles need for bound methods and which could reach anything."""
    kind = owner if inspect.isclass(owner) else type(owner)
    if (
        not kind.__module__.startswith("river.")
        or name.startswith("__")
        or not inspect.isroutine(getattr(kind, name, None))
    ):
        raise pickle.UnpicklingError(f"{kind.__name__}.{name} is not a method of a river class")
    return getattr(owner, name)


_RIVER_MODULES: Final = frozenset((
    "_river_rust", "base", "compose", "drift", "dummy", "ensemble", "facto", "feature_selection", "forest", "imblearn",
    "linear_model", "metrics", "multiclass", "naive_bayes", "neighbors", "optim", "preprocessing", "proba", "rules",
    "stats", "tree", "utils",
))  # fmt: skip
_BUILTINS: Final = frozenset((
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
    "slice", "str", "tuple",
))  # fmt: skip
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "builtins": _BUILTINS,
    "collections": frozenset(("Counter", "OrderedDict", "defaultdict", "deque")),
    "copy": frozenset(("deepcopy",)),
    "functools": frozenset(("partial",)),
    "models.forgetting": frozenset(("ForgettingStandardScaler", "ForgettingFTRL")),
    "numpy": frozenset(("dtype", "ndarray")),
    "numpy._core.multiarray": frozenset(("_reconstruct", "scalar")),
    "numpy._core.numeric": frozenset(("_frombuffer",)),
    "numpy.random._mt19937": frozenset(("MT19937",)),
    "numpy.random._pcg64": frozenset(("PCG64",)),
    "numpy.random._pickle": frozenset(("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor")),
    "random": frozenset(("Random",)),
}


class _Unpickler(pickle.Unpickler):
    """Finds only what river's models are made of; UnpicklingError for anything else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("builtins", "getattr"):
            return _method_of
        if global_name in _ALLOWED.get(module_name, ()):
            return super().find_class(module_name, global_name)
        parts = module_name.split(".")
        if parts[0] == "river" and len(parts) > 1 and parts[1] in _RIVER_MODULES and "__" not in global_name:
            found = super().find_class(module_name, global_name)
            # A module of river also holds what it imports (numpy, math, os): only what river defines itself.
            if (getattr(found, "__module__", None) or "").startswith("river."):
                return found
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not part of a river model")
