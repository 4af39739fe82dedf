"""The default model: river's scaled logistic regression with FTRL, compiled over arrays.

`CompiledLogistic` does, example after example, the arithmetic of the river pipeline

    StandardScaler() | LogisticRegression(FTRLProximal(alpha=.05, beta=1, l1=0, l2=0))

or, with `memory_examples`, of the same pipeline with the forgetting classes of models/forgetting.py,
in river's order, so that both stay equal to 1e-9 over whole data sets:
- the scaler learns an example first and then scales it; a feature without variance scales to 0;
- the gradient is taken at the weights that the *last* example left; FTRL then sets the weights from
  its z and n (a weight whose z is exactly 0 stays) and only then adds the gradient to z and n. So the
  weights that predict lag one example behind z and n;
- the intercept is not FTRL's: it takes plain SGD steps of .01;
- the weight of an example scales its gradient and nothing else.
Sums are plain loops in column order without fast-math: how many numbers fit into a register must not
change a result.

It is made from a river pipeline and turns back into one (models/as_river.py), both ways with all that
was learned, so the model of record stays one that people know.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import msgspec
import numpy as np

from config.errors import ModelError
from models.jit import F32, F64, U8, jit

FORMAT: Final = 1
INTERCEPT_LR: Final = 0.01
"""River's default for the intercept of its linear models."""
CLIP_GRADIENT: Final = 1e12
"""River's default bound on the derivative of the loss."""

FLAT_LOGIT: Final = 30.0
"""Beyond it river's sigmoid is 0 or 1."""

_ROWS: Final = ("means", "variances", "z", "n", "weights")
"""The rows of the state, float64[5, F]."""

_Settings: TypeAlias = tuple[float, float, float, float, float]
"""alpha, beta, memory in examples (0: for ever), learning rate of the intercept, clip."""


def check_memory(memory_examples: int | None) -> None:
    """Raises ValueError unless the memory is None (for ever) or at least 2 examples."""
    # With 1, the variance is always zero, or a rounding error below it whose root is complex.
    if memory_examples is not None and memory_examples < 2:
        raise ValueError(f"memory_examples must be None or at least 2, not {memory_examples}")


@dataclass(frozen=True, slots=True)
class LogisticParams:
    """What is chosen and not learned. Raises ValueError when a number is out of range."""

    alpha: float = 0.05
    beta: float = 1.0
    memory_examples: int | None = None
    intercept_lr: float = INTERCEPT_LR
    clip_gradient: float = CLIP_GRADIENT

    def __post_init__(self) -> None:
        check_memory(self.memory_examples)
        if not (self.alpha > 0.0 and self.beta >= 0.0 and self.clip_gradient > 0.0):
            raise ValueError("alpha and clip_gradient must be above 0, beta at least 0")


class CompiledLogistic:
    """A scaled logistic regression over `features` columns that learns in place, one example after another."""

    def __init__(self, features: int, params: LogisticParams | None = None) -> None:
        self.params = params or LogisticParams()
        self.features = features
        self.examples = 0
        """Examples that the scaler has learned."""
        self.steps = 0
        """Steps that the optimizer has taken (river's `n_iterations`)."""
        self.intercept = 0.0
        self._state: F64 = np.zeros((len(_ROWS), features))

    @property
    def means(self) -> F64:
        """float64[F], a view."""
        return cast("F64", self._state[0])

    @property
    def variances(self) -> F64:
        """float64[F], a view; of the population (n, not n - 1)."""
        return cast("F64", self._state[1])

    @property
    def z(self) -> F64:
        """float64[F], a view: FTRL's z."""
        return cast("F64", self._state[2])

    @property
    def n(self) -> F64:
        """float64[F], a view: FTRL's n, the sum of squared gradients."""
        return cast("F64", self._state[3])

    @property
    def weights(self) -> F64:
        """float64[F], a view, on scaled features: river's `LogisticRegression.weights`."""
        return cast("F64", self._state[4])

    def learn_many_in_order(self, x: F32, y: U8, weight: F32) -> None:
        """Learns the rows of x float32[n, F] with labels y uint8[n] and weights float32[n], first to last.

        Any cutting of the rows into calls gives the same bits. Raises ValueError on other shapes or dtypes.
        """
        if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"x must be float32[n, {self.features}], not {x.dtype}{list(x.shape)}")
        if y.shape != (len(x),) or weight.shape != (len(x),) or y.dtype != np.uint8 or weight.dtype != np.float32:
            raise ValueError(f"y must be uint8[{len(x)}] and weight float32[{len(x)}]")
        if len(x) == 0:
            return
        p = self.params
        settings = (p.alpha, p.beta, float(p.memory_examples or 0), p.intercept_lr, p.clip_gradient)
        rows = np.ascontiguousarray(x), np.ascontiguousarray(y), np.ascontiguousarray(weight)
        self.intercept = _learn(*rows, self._state, self.examples, self.intercept, settings)
        self.examples += len(x)
        self.steps += len(x)

    def fold(self) -> tuple[F64, float]:
        """Weights float64[F] on raw features and the bias: raw . x + bias is the logit of the river pipeline.

        raw_i = w_i / sd_i (0 without variance), bias = intercept - sum of raw_i mean_i.
        """
        return fold(self.weights, self.intercept, self.means, self.variances)

    def logit(self, x_row: F32) -> float:
        """The logit of one row float32[F], summed in column order."""
        raw, bias = self.fold()
        return float(_logit(np.ascontiguousarray(x_row, dtype=np.float32), raw, bias))

    def likelihood(self, x_row: F32) -> float:
        """The likelihood of one row float32[F]; river's sigmoid, flat at 0 and 1 beyond a logit of 30."""
        z = self.logit(x_row)
        return 1.0 / (1.0 + math.exp(-z)) if abs(z) <= FLAT_LOGIT else float(z > 0.0)

    def over(self, places: Sequence[int]) -> "CompiledLogistic":
        """The same model over other features: `places` [new F] says where each stood before, -1 for a new one.

        A new feature begins as one that was 0 in all examples so far.
        """
        model = CompiledLogistic(len(places), self.params)
        model.examples, model.steps, model.intercept = self.examples, self.steps, self.intercept
        for new, old in enumerate(places):
            if old >= 0:
                model._state[:, new] = self._state[:, old]
        return model

    def to_bytes(self) -> bytes:
        """The whole state as msgpack numbers; `from_bytes` gives a model that continues bit for bit."""
        params = self.params
        header = (params.alpha, params.beta, params.memory_examples, params.intercept_lr, params.clip_gradient)
        state = self._state.astype("<f8").tobytes()
        return msgspec.msgpack.encode(
            _Wire(FORMAT, self.features, header, self.examples, self.steps, self.intercept, state)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "CompiledLogistic":
        """Raises ModelError when the bytes are not what `to_bytes` wrote."""
        try:
            wire = msgspec.msgpack.decode(data, type=_Wire)
            if wire.format != FORMAT:
                raise ModelError(f"model format {wire.format} is not the known one, {FORMAT}")
            model = cls(wire.features, LogisticParams(*wire.params))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise ModelError(f"these bytes are not a compiled logistic regression: {error}") from error
        if len(wire.state) != model._state.nbytes:
            raise ModelError(f"a stored model has {len(wire.state)} bytes of state instead of {model._state.nbytes}")
        model._state = np.frombuffer(wire.state, dtype="<f8").astype(np.float64).reshape(model._state.shape)
        model.examples, model.steps, model.intercept = wire.examples, wire.steps, wire.intercept
        return model


def fold(weights: F64, intercept: float, means: F64, variances: F64) -> tuple[F64, float]:
    """Raw weights float64[F] and bias of a linear model over standardised features (see `CompiledLogistic.fold`)."""
    raw = np.empty_like(weights)
    return raw, float(_fold(weights, intercept, means, variances, raw))


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    features: int
    params: tuple[float, float, int | None, float, float]
    examples: int
    steps: int
    intercept: float
    state: bytes


@jit
def _log_gradient(positive: bool, logit: float) -> float:
    """d/dlogit of the log loss, with river's approximations beyond 18 (river/optim/losses.py, `Log.gradient`)."""
    label = 1.0 if positive else -1.0
    margin = logit * label
    if margin > 18.0:
        return float(np.exp(-margin)) * -label
    if margin < -18.0:
        return -label
    return -label / (float(np.exp(margin)) + 1.0)


@jit
def _scale(x_row: F32, means: F64, variances: F64, scaled: F64, divisor: float) -> None:
    for i in range(len(x_row)):
        value = np.float64(x_row[i])
        old = means[i]
        new = old + (value - old) / divisor
        variance = variances[i] + ((value - old) * (value - new) - variances[i]) / divisor
        means[i] = new
        variances[i] = variance
        scaled[i] = (value - new) / np.sqrt(variance) if variance != 0.0 else 0.0


@jit
def _step(scaled: F64, loss_gradient: float, z: F64, n: F64, roots: F64, weights: F64, settings: _Settings) -> None:
    """One step of FTRL. `roots` are the square roots of n, kept because each is needed twice."""
    alpha, beta, memory = settings[0], settings[1], settings[2]
    keep = 1.0 - 1.0 / memory if memory > 0.0 else 1.0
    for i in range(len(scaled)):
        gradient = scaled[i] * loss_gradient
        old_root = roots[i]
        fresh = -(1.0 / ((beta + old_root) / alpha)) * z[i]
        weight = fresh if z[i] != 0.0 else weights[i]
        total = keep * n[i] + gradient * gradient
        root = np.sqrt(total)
        z[i] += gradient - (root - old_root) / alpha * weight
        n[i] = total
        roots[i] = root
        weights[i] = weight


@jit
def _learn(x: F32, y: U8, weight: F32, state: F64, examples: int, intercept: float, settings: _Settings) -> float:
    """Learns the rows in order, in place; gives the new intercept. A memory of 0 means for ever."""
    memory, intercept_lr, clip = settings[2], settings[3], settings[4]
    scaled = np.empty(x.shape[1])
    means, variances, z, n, weights = state[0], state[1], state[2], state[3], state[4]
    roots = np.sqrt(n)
    for row in range(x.shape[0]):
        examples += 1
        divisor = float(examples)
        if memory > 0.0:
            divisor = min(divisor, memory)
        _scale(x[row], means, variances, scaled, divisor)
        logit = 0.0
        for i in range(len(scaled)):
            logit += weights[i] * scaled[i]
        logit += intercept
        loss_gradient = _log_gradient(y[row] != 0, logit) * float(weight[row])
        loss_gradient = max(min(loss_gradient, clip), -clip)
        intercept -= intercept_lr * loss_gradient
        _step(scaled, loss_gradient, z, n, roots, weights, settings)
    return intercept


@jit
def _fold(weights: F64, intercept: float, means: F64, variances: F64, raw: F64) -> float:
    # A sum of its own and not np.dot: what BLAS adds up changes with the shape and the machine.
    shift = 0.0
    for i in range(len(weights)):
        raw[i] = weights[i] / np.sqrt(variances[i]) if variances[i] > 0.0 else 0.0
        shift += raw[i] * means[i]
    return intercept - shift


@jit
def _logit(x_row: F32, weights: F64, bias: float) -> float:
    total = 0.0
    for i in range(len(x_row)):
        total += weights[i] * np.float64(x_row[i])
    return total + bias
