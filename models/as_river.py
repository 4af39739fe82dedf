"""The compiled pipeline from and to river's own classes, with all that was learned.

Apart from `models.pipeline`, because importing river takes most of a second and 75 MB, which a process that only
learns and scores the default model need not spend.
"""

from collections.abc import Sequence
from typing import Any

from river import base, compose, linear_model, optim, preprocessing, utils

from config.errors import ModelError
from models.forgetting import ForgettingFTRL, ForgettingStandardScaler
from models.pipeline import CompiledLogistic, LogisticParams


def to_river(model: CompiledLogistic, names: Sequence[str]) -> compose.Pipeline:
    """A river pipeline over the F feature names in column order that has learned the same."""
    if len(names) != model.features or len(set(names)) != len(names):
        raise ModelError(f"{model.features} different feature names are needed, {len(names)} were given")
    params = model.params
    if params.memory_examples is None:
        scaler: Any = preprocessing.StandardScaler()
        optimizer: Any = optim.FTRLProximal(alpha=params.alpha, beta=params.beta, l1=0.0, l2=0.0)
    else:
        scaler = ForgettingStandardScaler(params.memory_examples)
        optimizer = ForgettingFTRL(params.alpha, params.beta, params.memory_examples)
    classifier = linear_model.LogisticRegression(
        optimizer, intercept_lr=params.intercept_lr, clip_gradient=params.clip_gradient
    )
    optimizer.n_iterations = model.steps
    classifier.intercept = model.intercept
    if model.examples:
        scaler.counts.update(dict.fromkeys(names, model.examples))
        scaler.means.update(zip(names, model.means.tolist(), strict=True))
        scaler.vars.update(zip(names, model.variances.tolist(), strict=True))
    if model.steps:
        optimizer.z.update(zip(names, model.z.tolist(), strict=True))
        optimizer.n.update(zip(names, model.n.tolist(), strict=True))
        # river gives no public way to set weights that were learned
        classifier._weights = utils.VectorDict(dict(zip(names, model.weights.tolist(), strict=True)))  # noqa: SLF001
    return compose.Pipeline(scaler, classifier)


def from_river(pipeline: base.Estimator, names: Sequence[str]) -> CompiledLogistic:
    """The compiled form of a river pipeline, learned or not, over the feature names in column order.

    Raises ModelError, with the reason, for a pipeline whose arithmetic is not the one compiled here.
    """
    scaler, classifier = _river_parts(pipeline)
    optimizer = classifier.optimizer
    unknown = (set(scaler.counts) | set(optimizer.z) | set(classifier.weights)) - set(names)
    if unknown:
        raise ModelError(f"the river pipeline has learned features that are not given: {sorted(unknown)[:5]}")
    counts = {scaler.counts.get(name, 0) for name in names}
    if len(counts) > 1:
        raise ModelError("the river pipeline has not learned the same number of examples for every feature")
    memory = getattr(scaler, "memory_examples", None)
    params = LogisticParams(
        optimizer.alpha, optimizer.beta, memory, classifier.intercept_lr.learning_rate, classifier.clip_gradient
    )
    model = CompiledLogistic(len(names), params)
    model.examples = counts.pop() if counts else 0
    model.steps = optimizer.n_iterations
    model.intercept = float(classifier.intercept)
    weights = classifier.weights
    for column, name in enumerate(names):
        model.means[column] = scaler.means.get(name, 0.0)
        model.variances[column] = scaler.vars.get(name, 0.0)
        model.z[column] = optimizer.z.get(name, 0.0)
        model.n[column] = optimizer.n.get(name, 0.0)
        model.weights[column] = weights.get(name, 0.0)
    return model


def default_river_pipeline(memory_examples: int | None) -> compose.Pipeline:
    """The pipeline that `CompiledLogistic` compiles, unlearned, as a river model."""
    return to_river(CompiledLogistic(0, LogisticParams(memory_examples=memory_examples)), ())


def _river_parts(pipeline: base.Estimator) -> tuple[Any, Any]:
    """The scaler and the classifier of a pipeline that can be compiled; ModelError for any other."""
    steps = list(pipeline.steps.values()) if isinstance(pipeline, compose.Pipeline) else [pipeline]
    if len(steps) != 2:
        raise ModelError("only a scaler followed by a logistic regression can be compiled")
    scaler, classifier = steps
    if type(classifier) is not linear_model.LogisticRegression:
        raise ModelError(f"{type(classifier).__name__} is not river's LogisticRegression")
    optimizer, loss = classifier.optimizer, classifier.loss
    problems = {
        "the scaler is not a StandardScaler": type(scaler)
        not in (preprocessing.StandardScaler, ForgettingStandardScaler),
        "the scaler has a window or leaves the spread": not getattr(scaler, "with_std", False)
        or getattr(scaler, "window_size", None) is not None,
        "the optimizer is not FTRL": type(optimizer) not in (optim.FTRLProximal, ForgettingFTRL),
        "the optimizer has penalties": (getattr(optimizer, "l1", 0), getattr(optimizer, "l2", 0)) != (0, 0),
        "scaler and optimizer do not remember equally long": getattr(scaler, "memory_examples", None)
        != getattr(optimizer, "memory_examples", None),
        "the regression has penalties": (classifier.l1, classifier.l2) != (0, 0),
        "the loss is not the plain Log": type(loss) is not optim.losses.Log
        or (loss.weight_pos, loss.weight_neg) != (1.0, 1.0),
        "the intercept has no constant learning rate": type(classifier.intercept_lr) is not optim.schedulers.Constant,
        "the weights do not start at zero": type(classifier.initializer) is not optim.initializers.Zeros,
    }
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise ModelError(f"this river pipeline cannot be compiled: {'; '.join(found)}")
    return scaler, classifier
