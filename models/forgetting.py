"""River's scaler and FTRL optimizer with a memory: what is older than `memory_examples` fades.

River's `StandardScaler` averages all history and the steps of `FTRLProximal` shrink for ever, so a
model that has seen millions of examples cannot follow customers who change. Here both forget
exponentially with a time constant of `memory_examples` examples. With `memory_examples=None` the
classes are river's own, to the last bit.

With M = memory_examples, k = min(number of examples, M) and a feature x, the scaler does
    mean' = mean + (x - mean) / k
    var'  = var + ((x - mean) (x - mean') - var) / k
(the running mean and variance until M examples, exponential averages from then on), and FTRL does
    n' = (1 - 1/M) n + g^2,   s = (sqrt(n') - sqrt(n)) / alpha,   z' = z + g - s w
which is the update of McMahan et al. 2013 ("Ad click prediction: a view from the trenches",
algorithm 1, l1 = l2 = 0) with a sum of squared gradients that decays. Where n shrinks, s is negative,
and z moves so that the weight itself stays where it is.
"""

from typing import Any

from river import optim, preprocessing, utils

from models.pipeline import check_memory


class ForgettingStandardScaler(preprocessing.StandardScaler):
    """Scales to zero mean and unit variance over about the last `memory_examples` examples.

    Raises ValueError when `memory_examples` is below 2.

    >>> scaler = ForgettingStandardScaler(memory_examples=2)
    >>> for value in (0.0, 2.0, 4.0):
    ...     scaler.learn_one({"x": value})
    >>> scaler.means["x"], scaler.vars["x"]
    (2.5, 2.75)
    """

    def __init__(self, memory_examples: int | None = None, with_std: bool = True) -> None:
        check_memory(memory_examples)
        super().__init__(with_std=with_std)
        self.memory_examples = memory_examples

    def learn_one(self, x: dict[Any, Any]) -> None:
        if self.memory_examples is None:
            super().learn_one(x)  # type: ignore[no-untyped-call]  # river leaves it untyped
            return
        for name, value in x.items():
            self.counts[name] += 1
            divisor = min(self.counts[name], self.memory_examples)
            old_mean = self.means[name]
            self.means[name] += (value - old_mean) / divisor
            if self.with_std:
                product = (value - old_mean) * (value - self.means[name])
                self.vars[name] += (product - self.vars[name]) / divisor

    def learn_many(self, X: Any) -> None:  # noqa: N803  (river's name)
        """Learns the rows of a dataframe one after another: a batch has no formula of its own here."""
        if self.memory_examples is None:
            super().learn_many(X)
            return
        for row in utils.dataframe.into_frame(X).iter_rows(named=True):
            self.learn_one(row)


class ForgettingFTRL(optim.FTRLProximal):
    """FTRL-Proximal without penalties whose steps do not shrink below what `memory_examples` calls for.

    Raises ValueError when `memory_examples` is below 2.

    >>> optimizer = ForgettingFTRL(alpha=0.1, beta=1.0, memory_examples=2)
    >>> for _ in range(3):
    ...     _ = optimizer.step({"x": 0.0}, {"x": 1.0})
    >>> optimizer.n["x"]
    1.75
    """

    def __init__(self, alpha: float = 0.05, beta: float = 1.0, memory_examples: int | None = None) -> None:
        check_memory(memory_examples)
        super().__init__(alpha=alpha, beta=beta, l1=0.0, l2=0.0)
        self.memory_examples = memory_examples

    def _step_with_dict(self, w: Any, g: Any) -> Any:
        if self.memory_examples is None:
            return super()._step_with_dict(w, g)
        keep = 1.0 - 1.0 / self.memory_examples
        for name in g:
            if self.z[name] != 0.0:
                w[name] = -(((self.beta + self.n[name] ** 0.5) / self.alpha) ** -1) * self.z[name]
        for name, gradient in g.items():
            old = self.n[name]
            new = keep * old + gradient**2
            step = (new**0.5 - old**0.5) / self.alpha
            self.z[name] += gradient - step * w.get(name, 0.0)
            self.n[name] = new
        return w
