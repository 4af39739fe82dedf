"""The ledger of deleted users: its bound, and what others are told of it."""

from __future__ import annotations

import time

from streams.core.ledger import Deleted, Ledger, cluster_id, ledger_name
from tests.conftest import SLOWNESS

KEY = b"k" * 32


def ledger(most: int, *users: tuple[str, float, int]) -> Ledger:
    made = Ledger(KEY, most)
    for user, at_s, ended in users:
        made.note(user, at_s, at_s, ended=ended)
    return made


def known(one: Ledger, users: str) -> str:
    return "".join(user for user in users if one.find(user) is not None)


def test_the_oldest_go_until_an_eighth_is_free_and_those_without_a_life_first() -> None:
    one = ledger(8, *((user, float(at), 1) for at, user in enumerate("abcdefgh")))
    assert not one.trim()
    one.note("x", 100.0, 100.0, ended=0)
    one.note("y", 101.0, 101.0, ended=0)
    assert one.trim()
    assert known(one, "abcdefghxy") == "bcdefgh", "x and y were later than all, but nothing had been there"
    assert (len(one), one.forgotten) == (7, 3)
    assert not one.trim()


def test_who_is_forgotten_goes_on_behind_all_lives_that_were() -> None:
    one = ledger(2, ("a", 1.0, 4), ("b", 2.0, 1), ("c", 3.0, 1))
    assert one.lives_before(one.find("b")) == 1
    assert one.trim()
    assert known(one, "abc") == "bc"
    assert one.lives_before(one.find("a")) == 4
    assert one.lives_before(one.find("nobody")) == 4
    assert one.lives_before(one.find("b")) == 4


def test_a_deletion_that_finds_nobody_ends_no_life() -> None:
    one = ledger(8, ("a", 1.0, 2), ("a", 5.0, 0), ("b", 1.0, 0))
    assert one.find("a") == Deleted(5.0, 5.0, 2)
    assert one.find("b") == Deleted(1.0, 1.0, 0)


def test_what_goes_is_told_and_what_was_merged_is_only_stored() -> None:
    one = ledger(2, ("a", 1.0, 1))
    first = one.drain()
    assert (first.merged, first.said) == (frozenset(), {})
    one.merge(ledger_name(KEY, "b"), Deleted(2.0, 2.0, 1).to_bytes())
    one.merge(ledger_name(KEY, "c"), Deleted(3.0, 3.0, 1).to_bytes())
    one.note("c", 4.0, 4.0, ended=2)
    assert one.trim()
    changed, merged, said = one.drain()
    assert dict(changed) == {
        ledger_name(KEY, "a"): None,
        ledger_name(KEY, "b"): Deleted(2.0, 2.0, 1).to_bytes(),
        ledger_name(KEY, "c"): Deleted(4.0, 4.0, 2).to_bytes(),
    }
    assert merged == {ledger_name(KEY, "b")}
    assert said == {ledger_name(KEY, "a"): 1.0, ledger_name(KEY, "b"): 2.0, ledger_name(KEY, "c"): 3.0}
    assert one.drain() == ([], frozenset(), {})


def test_of_several_deletions_between_two_tellings_others_have_heard_of_the_one_before() -> None:
    one = ledger(8, ("a", 1.0, 1), ("a", 2.0, 2), ("b", 1.0, 1))
    assert one.drain().said == {}
    one.note("a", 3.0, 3.0, ended=3)
    one.note("a", 4.0, 4.0, ended=4)
    assert one.drain().said == {ledger_name(KEY, "a"): 2.0}


def test_a_limit_that_was_lowered_is_kept_in_one_step() -> None:
    one = Ledger(KEY, 1_000)
    for n in range(50_000):
        one.load(f"{n:032x}", Deleted(float(n), float(n), 1).to_bytes())
    began_s = time.process_time()
    assert one.trim()
    assert time.process_time() - began_s < 5.0 * SLOWNESS  # one by one it would be a quarter of an hour
    assert len(one) == 875


def test_examples_name_users_by_another_hash_than_the_ledger_and_by_none_without_the_key() -> None:
    assert cluster_id(KEY, "ann") != cluster_id(b"", "ann")
    assert f"{cluster_id(KEY, 'ann'):016x}" not in ledger_name(KEY, "ann")
