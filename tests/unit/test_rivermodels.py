"""River classifiers by name, and their signed pickles."""

import io
import math
import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from river import base, naive_bayes

from config.errors import ModelError, ModelUnknown, SnapshotRefused
from models.forgetting import ForgettingStandardScaler
from models.rivermodels import RiverClassifier, SignedPickle, _Unpickler, build

NAMES = ("a", "b")
KEY = b"0123456789abcdef"


def learned(path: str = "river.naive_bayes.GaussianNB", **params: Any) -> RiverClassifier:
    rng = np.random.default_rng(1)
    model = build(path, params, NAMES, memory_examples=500)
    x = rng.normal(size=(80, 2)).astype(np.float32)
    model.learn_many_in_order(x, (x[:, 0] > 0).astype(np.uint8), np.ones(80, np.float32))
    return model


@pytest.mark.parametrize(
    ("path", "params", "reason"),
    [
        ("os.system", {}, "not the path of a river class"),
        ("river.tree.HoeffdingTreeClassifier.__init__", {}, "not the path"),
        ("river.utils.x.os.System", {}, "no module"),
        ("river.tree.NoSuchTree", {}, "no class NoSuchTree"),
        ("river.nowhere.Tree", {}, "no module river.nowhere"),
        ("river.tree.HoeffdingTreeRegressor", {}, "not a classifier"),
        ("river.multioutput.ClassifierChain", {}, "not a classifier"),
        ("river.preprocessing.StandardScaler", {}, "not a classifier"),
        ("river.metrics.Accuracy", {}, "not a classifier"),
        ("river.base.Classifier", {}, "cannot be used on its own"),
        ("river.active.EntropySampler", {}, "on its own"),
        ("river.multiclass.OneVsOneClassifier", {}, "gives no likelihoods"),
        ("river.ensemble.BaggingClassifier", {}, "needs model"),
        ("river.naive_bayes.MultinomialNB", {}, "never negative"),
        ("river.linear_model.AdPredictor", {}, "which features there are"),
        ("river.tree.HoeffdingTreeClassifier", {"depth": 3}, "has no parameter depth; it has: .*max_depth"),
        ("river.linear_model.LogisticRegression", {"l1": 0.1, "l2": 0.1}, "does not accept its parameters"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_change(path: str, params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelUnknown, match=reason):
        build(path, params, NAMES)


def test_parameters_of_the_catalog_reach_the_class() -> None:
    model = build("river.tree.HoeffdingTreeClassifier", {"grace_period": 17, "max_depth": 2}, NAMES, scale=False)
    assert (model.classifier.grace_period, model.classifier.max_depth) == (17, 2)


def test_the_scaler_in_front_forgets_as_told() -> None:
    scaled = build("river.naive_bayes.GaussianNB", {}, NAMES, memory_examples=321)
    scaler, classifier = scaled.classifier.steps.values()
    assert isinstance(scaler, ForgettingStandardScaler)
    assert scaler.memory_examples == 321
    assert isinstance(classifier, naive_bayes.GaussianNB)
    assert isinstance(build("river.naive_bayes.GaussianNB", {}, NAMES, scale=False).classifier, naive_bayes.GaussianNB)


def test_chance_is_seeded_unless_the_catalog_seeds_it() -> None:
    assert build("river.forest.ARFClassifier", {}, NAMES, scale=False).classifier.seed == 0
    assert build("river.forest.ARFClassifier", {"seed": 7}, NAMES, scale=False).classifier.seed == 7


class Spy(base.Classifier):
    """Notes how often it learns."""

    def __init__(self) -> None:
        self.times = 0

    def learn_one(self, x: Any, y: Any) -> None:  # noqa: ARG002
        self.times += 1

    def predict_proba_one(self, x: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        return {True: math.nan, False: math.nan}


@pytest.mark.parametrize(("weight", "times"), [(0.2, 1), (1.0, 1), (2.0, 2), (7.9, 8), (16.0, 16), (1e6, 16)])
def test_without_weights_of_its_own_a_class_learns_heavy_examples_several_times(weight: float, times: int) -> None:
    spy = Spy()
    model = RiverClassifier(spy, NAMES)
    model.learn_many_in_order(np.zeros((1, 2), np.float32), np.ones(1, np.uint8), np.array([weight], np.float32))
    assert spy.times == times
    assert model.examples == 1


def test_a_classifier_at_a_loss_says_the_rate_it_has_learned() -> None:
    model = RiverClassifier(Spy(), NAMES)
    model.learn_many_in_order(np.zeros((4, 2), np.float32), np.array([1, 0, 0, 0], np.uint8), np.ones(4, np.float32))
    assert model.likelihood(np.zeros(2, np.float32)) == 0.25


class Broken(Spy):
    def learn_one(self, x: Any, y: Any) -> None:  # noqa: ARG002
        raise OverflowError("math range error")


def test_a_classifier_that_fails_stops_with_its_name_and_what_to_do() -> None:
    model = RiverClassifier(Broken(), NAMES)
    with pytest.raises(ModelError, match="Broken cannot learn example 1: math range error; use another model"):
        model.learn_many_in_order(np.zeros((1, 2), np.float32), np.ones(1, np.uint8), np.ones(1, np.float32))


def test_names_that_repeat_are_refused() -> None:
    with pytest.raises(ModelError, match="repeat"):
        build("river.naive_bayes.GaussianNB", {}, ("a", "a"))


def test_a_signed_model_comes_back_as_it_was() -> None:
    model, codec = learned(), SignedPickle(KEY)
    again = codec.loads(codec.dumps(model))
    row = np.array([0.3, -0.2], np.float32)
    assert again.likelihood(row) == model.likelihood(row)
    assert (again.names, again.examples, again.goals, again.memory_examples) == (NAMES, 80, model.goals, 500)
    np.testing.assert_array_equal(again.means, model.means)


def test_nothing_is_unpickled_before_the_signature_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = SignedPickle(KEY).dumps(learned())

    def never(*_: object) -> None:
        raise AssertionError("the pickle was read")

    monkeypatch.setattr("models.rivermodels._Unpickler", never)
    with pytest.raises(SnapshotRefused, match="signature"):
        SignedPickle(b"another key, 16+ bytes").loads(signed)
    start = len(signed) - 200
    for place in (0, 5, 30, 60, start, len(signed) - 1):
        changed = bytearray(signed)
        changed[place] ^= 1
        with pytest.raises(SnapshotRefused):
            SignedPickle(KEY).loads(bytes(changed))
    for cut in (b"", signed[:10], signed[:50], signed[:-1]):
        with pytest.raises(SnapshotRefused):
            SignedPickle(KEY).loads(cut)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return False

    monkeypatch.setattr("models.rivermodels.hmac.compare_digest", compare)
    with pytest.raises(SnapshotRefused, match="signature"):
        SignedPickle(KEY).loads(SignedPickle(KEY).dumps(learned()))
    assert len(compared) == 1
    assert len(compared[0][0]) == 32


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ModelError, match="TIDELINE_SIGNING_KEY has 15 bytes"):
        SignedPickle(b"x" * 15)


def test_only_river_classifiers_are_signed() -> None:
    with pytest.raises(ModelError, match="object is not a river classifier"):
        SignedPickle(KEY).dumps(object())  # type: ignore[arg-type]


class Evil:
    """What a pickle could do if it were read without care."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def sign(codec: SignedPickle, pickled: bytes) -> bytes:
    """A pickle that is not ours under a right signature: a stolen key."""
    signed = codec.dumps(learned())
    start = signed.index(b"\n") + 1 + 32
    fields = msgspec.msgpack.decode(signed[start:])
    fields[-1] = pickled
    content = msgspec.msgpack.encode(fields)
    return signed[: start - 32] + codec._mac(content) + content


@pytest.mark.parametrize(
    "evil",
    [
        Evil(eval, "1 + 1"),
        Evil(exec, "x = 1"),
        Evil(__import__, "os"),
        Evil(open, "/dev/null"),
        Evil(getattr, learned(), "copy"),
        Evil(getattr, learned().classifier, "__class__"),
        Evil(getattr, str, "format"),
        Evil(np.load, "/dev/null"),
    ],
    ids=lambda evil: f"{evil.function.__name__}-{evil.arguments[-1]}",
)
def test_even_under_a_right_signature_a_pickle_finds_only_models(evil: Evil) -> None:
    codec = SignedPickle(KEY)
    with pytest.raises(SnapshotRefused, match="cannot be read"):
        codec.loads(sign(codec, pickle.dumps(evil)))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("river.utils.pretty", "os"),
        ("river.stream.iter_csv", "iter_csv"),
        ("river.datasets", "Phishing"),
        ("river.tree.hoeffding_tree", "io.open"),
        ("river.base.base", "inspect"),
        ("river.naive_bayes.gaussian", "GaussianNB.__init__.__globals__"),
        ("river", "tree"),
        ("numpy", "fromfile"),
        ("builtins", "compile"),
    ],
)
def test_the_unpickler_does_not_reach_through_rivers_modules(module: str, name: str) -> None:
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        _Unpickler(io.BytesIO(b"")).find_class(module, name)


def test_a_signed_pickle_of_something_else_is_refused() -> None:
    codec = SignedPickle(KEY)
    with pytest.raises(SnapshotRefused, match="stored river model is a dict"):
        codec.loads(sign(codec, pickle.dumps({"a": 1})))
