"""Warm-up: when the model may speak."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import ModelError
from models import warmup as module
from models.examples import KIND_CROSSING, ExampleChunk
from models.metrics import auc_resamples, difference_error, roc_auc
from models.warmup import BLOCK, CAPACITY, Warmup, compare


class World:
    """Users with a hidden taste; a model and a heuristic that see it with more or less noise."""

    def __init__(
        self, seed: int, *, model_noise: float = 0.3, heuristic_noise: float = 1.5, rate: float = -2.0
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.model_noise, self.heuristic_noise, self.rate = model_noise, heuristic_noise, rate
        self.number = 0

    def chunk(self, count: int, users: int = 1_000_000, **changes: Any) -> ExampleChunk:
        self.number += 1
        rng = self.rng
        taste = rng.normal(size=count)
        logit = 1.5 * taste + self.rate
        seen = 1.5 * (taste + self.model_noise * rng.normal(size=count)) + self.rate
        fields: dict[str, Any] = {
            "prediction": 0,
            "number": self.number,
            "shard": 0,
            "x": np.zeros((count, 2), np.float32),
            "y": (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.uint8),
            "time_s": np.full(count, 9e8),
            "user": rng.integers(0, users, count).astype(np.uint64),
            "kind": (rng.random(count) < 0.5).astype(np.uint8),
            "weight": np.ones(count, np.float32),
            "likelihood": (1 / (1 + np.exp(-seen))).astype(np.float32),
            "heuristic": (taste + self.heuristic_noise * rng.normal(size=count)).astype(np.float32),
            "score": np.full(count, 50, np.float32),
            "category": np.zeros(count, np.uint8),
            "touch": np.zeros(count, np.uint8),
        }
        return ExampleChunk(**(fields | changes))


def test_a_better_model_leaves_as_soon_as_enough_users_reached_the_goal() -> None:
    world, warmup, before = World(1), Warmup(min_goals=100), 0
    while not warmup.left:
        before = warmup.goal_users
        assert before < 200
        warmup.add(world.chunk(50))
    assert warmup.reason == "beats"
    assert before < 100 <= before + 50
    assert warmup.comparison is not None
    assert warmup.comparison.lower > 0


def test_goals_of_one_user_count_once() -> None:
    world, warmup = World(2), Warmup(min_goals=100)
    for _ in range(40):
        warmup.add(world.chunk(100, users=90))
    assert warmup.goals > 300
    assert warmup.goal_users <= 90
    assert not warmup.left
    assert warmup.comparison is None


def test_a_worse_model_never_leaves() -> None:
    world, warmup = World(3, model_noise=3.0, heuristic_noise=0.3), Warmup(min_goals=20)
    for _ in range(60):
        warmup.add(world.chunk(500))
    assert warmup.goal_users == 200
    assert not warmup.left
    assert warmup.comparison is not None
    assert warmup.comparison.lower < -0.01


def as_good_as_the_heuristic(world: World, count: int) -> ExampleChunk:
    chunk = world.chunk(count)
    twin = np.log(chunk.likelihood / (1 - chunk.likelihood))
    return ExampleChunk(**{name: getattr(chunk, name) for name in chunk.__slots__} | {"heuristic": twin})


def test_a_model_that_is_just_as_good_leaves_after_ten_times_the_goals() -> None:
    world, warmup, before = World(4), Warmup(min_goals=50), 0
    while not warmup.left:
        before = warmup.goal_users
        warmup.add(as_good_as_the_heuristic(world, 100))
        assert warmup.goals < 2_000, "stays for ever"
    assert warmup.reason == "as_good"
    assert before >= 500 - 100
    assert warmup.comparison is not None
    assert warmup.comparison.model_auc == warmup.comparison.heuristic_auc


def test_a_model_that_is_little_better_but_unclear_does_not_leave_early() -> None:
    # The control of the test above: under ten times the goals, as good is not enough.
    world, warmup = World(5), Warmup(min_goals=50)
    while warmup.goal_users < 400:
        warmup.add(as_good_as_the_heuristic(world, 50))
    assert not warmup.left
    assert warmup.comparison is not None


def test_what_has_left_takes_no_room_and_stays_out() -> None:
    world, warmup = World(6), Warmup(min_goals=50)
    warmup.add(world.chunk(2_000))
    assert warmup.reason == "beats"
    warmup.add(World(7, model_noise=9.0, heuristic_noise=0.1).chunk(20_000))
    assert warmup.reason == "beats"
    assert (warmup.compared_rows, warmup.goal_users) == (0, 0)
    assert set(warmup.state()) == {"head"}


def test_comparisons_are_made_only_when_goals_have_grown_by_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(*arguments: Any) -> Any:
        made.append(warmup.goals)
        return compare(*arguments)

    monkeypatch.setattr(module, "compare", counted)
    world, warmup = World(8, model_noise=3.0, heuristic_noise=0.3), Warmup(min_goals=30)
    for _ in range(600):
        warmup.add(world.chunk(20))
    assert len(made) > 10
    assert all(later >= 1.1 * earlier for earlier, later in itertools.pairwise(made))


def test_rows_before_the_first_model_and_crossings_are_not_compared() -> None:
    world, warmup = World(9), Warmup(min_goals=10**6)
    nothing = np.full(100, np.nan, np.float32)
    warmup.add(world.chunk(100, likelihood=nothing))
    warmup.add(world.chunk(100, likelihood=np.full(100, 0.5, np.float32)))
    warmup.add(world.chunk(100, heuristic=nothing))
    assert warmup.compared_rows == 0
    assert warmup.goals > 0
    before = warmup.goals
    warmup.add(world.chunk(100, kind=np.full(100, KIND_CROSSING, np.uint8)))
    assert (warmup.compared_rows, warmup.goals) == (0, before)
    warmup.add(world.chunk(100))
    assert warmup.compared_rows == 100


def test_only_the_last_rows_are_compared() -> None:
    # A model that was bad for long and is good now is judged by now.
    world, warmup = World(10, model_noise=50.0), Warmup(min_goals=100)
    warmup.add(world.chunk(CAPACITY))
    assert not warmup.left
    world.model_noise = 0.1
    warmup.add(world.chunk(CAPACITY))
    assert warmup.reason == "beats"


def test_rare_goals_keep_their_place_among_the_rows() -> None:
    world, warmup = World(11, rate=-9.0), Warmup(min_goals=10**6)
    total = 0
    for _ in range(30):
        chunk = world.chunk(10_000)
        total += int(chunk.y.sum())
        warmup.add(chunk)
    assert 50 < total < 300_000 / 500
    rows = warmup._rows
    assert int(rows.y[: rows.size].sum()) == total
    assert total * 15 < rows.size < total * 30


def test_bounds_hold() -> None:
    world, warmup = World(12, model_noise=9.0, heuristic_noise=0.1), Warmup(min_goals=3)
    for _ in range(5):
        warmup.add(world.chunk(CAPACITY))
    assert warmup.compared_rows == CAPACITY
    assert warmup.goal_users == 30
    assert sum(map(len, warmup.state().values())) < 25 * CAPACITY


Array = NDArray[Any]


def clustered(seed: int, users: int, count: int) -> tuple[Array, Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, count)
    taste = rng.normal(size=users)[user]
    y = (rng.random(count) < 1 / (1 + np.exp(1.5 - taste))).astype(np.uint8)
    model = (taste + rng.normal(size=count)).astype(np.float32)
    heuristic = np.round(taste + 1.4 * rng.normal(size=count), 1).astype(np.float32)
    return y, model, heuristic, user.astype(np.uint64), (2.0 ** rng.integers(0, 3, count)).astype(np.float32)


@pytest.mark.parametrize(("users", "count"), [(200, 4_000), (3_000, 4_000)])
def test_the_comparison_agrees_with_a_bootstrap_over_users(users: int, count: int) -> None:
    y, model, heuristic, user, weight = clustered(13, users, count)
    found = compare(y, model, heuristic, user, weight)
    assert found.model_auc == pytest.approx(roc_auc(y, model, weight), abs=1e-12)
    assert found.heuristic_auc == pytest.approx(roc_auc(y, heuristic, weight), abs=1e-12)
    resamples = auc_resamples(y, [model, heuristic], user, weight, resamples=400)
    error = difference_error(resamples[:, 0], resamples[:, 1])
    assert found.standard_error == pytest.approx(error, rel=0.15)


def test_the_comparison_does_not_depend_on_the_hashes_of_users() -> None:
    y, model, heuristic, user, weight = clustered(3, 400, 3_000)
    renamed = np.random.default_rng(4).permutation(2**20)[user].astype(np.uint64)
    one, other = (compare(y, model, heuristic, users, weight) for users in (user, renamed))
    assert one == other, "to the last bit: another key is no other run"


def test_the_interval_treats_users_and_not_rows_as_independent() -> None:
    y, model, heuristic, user, weight = clustered(14, 300, 500)
    once = compare(y, model, heuristic, user, weight)
    y, model, heuristic, user, weight = (np.tile(array, 10) for array in (y, model, heuristic, user, weight))
    again = compare(y, model, heuristic, user, weight)
    assert again.standard_error == pytest.approx(once.standard_error, rel=1e-9)
    alone = compare(y, model, heuristic, np.arange(5_000, dtype=np.uint64), weight)
    assert alone.standard_error < 0.5 * once.standard_error


def test_by_chance_alone_a_model_seldom_beats_the_heuristic() -> None:
    beats = 0
    for seed in range(300):
        world = World(seed, model_noise=1.0, heuristic_noise=1.0)
        chunk = world.chunk(600)
        beats += compare(chunk.y, chunk.likelihood, chunk.heuristic, chunk.user, chunk.weight).lower > 0
    assert 3 <= beats <= 28  # 15 expected at 5 %; the bounds are three standard deviations away


@pytest.mark.parametrize("cut", [1, 7, 23, 39])
def test_saved_anywhere_it_goes_on_equally(cut: int) -> None:
    def chunks() -> list[ExampleChunk]:
        world = World(15, model_noise=1.0, heuristic_noise=1.05)
        return [world.chunk(900) for _ in range(40)]

    unbroken, broken = Warmup(min_goals=3_000), Warmup(min_goals=3_000)
    for chunk in chunks():
        unbroken.add(chunk)
    stored: dict[str, bytes] = {}
    for number, chunk in enumerate(chunks()):
        broken.add(chunk)
        stored |= broken.state(changed_only=True)
        broken.mark_saved()
        if number == cut:
            assert {k: v for k, v in stored.items() if v} == broken.state()
            broken = Warmup.load(stored)
    assert broken.state() == unbroken.state()
    assert broken.comparison == unbroken.comparison


def test_a_change_rewrites_only_the_blocks_it_touched() -> None:
    world, warmup = World(16), Warmup(min_goals=10**6)
    warmup.add(world.chunk(5 * BLOCK + 100))
    warmup.mark_saved()
    assert set(warmup.state(changed_only=True)) == {"head"}
    warmup.add(world.chunk(BLOCK))
    assert set(warmup.state(changed_only=True)) == {"head", "rows:5", "rows:6"}


def test_on_leaving_stored_rows_are_dropped() -> None:
    world, warmup = World(17), Warmup(min_goals=50)
    warmup.add(world.chunk(100))
    stored = warmup.state(changed_only=True)
    warmup.mark_saved()
    while not warmup.left:
        warmup.add(world.chunk(100))
    stored |= warmup.state(changed_only=True)
    assert {name for name, data in stored.items() if data} == {"head"}
    again = Warmup.load({name: data for name, data in stored.items() if data})
    assert (again.reason, again.comparison) == (warmup.reason, warmup.comparison)


@pytest.mark.parametrize("fields", [{}, {"head": b""}, {"head": b"\x90"}, {"head": b"nonsense"}])
def test_fields_that_are_no_warmup_are_refused(fields: dict[str, bytes]) -> None:
    with pytest.raises(ModelError, match="warm-up"):
        Warmup.load(fields)


def test_lost_rows_are_noticed() -> None:
    warmup = Warmup(min_goals=10**6)
    warmup.add(World(18).chunk(BLOCK + 10))
    fields = warmup.state()
    del fields["rows:0"]
    with pytest.raises(ModelError, match="rows 0 to 1000"):
        Warmup.load(fields)


def test_a_minimum_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="min_goals"):
        Warmup(min_goals=0)
