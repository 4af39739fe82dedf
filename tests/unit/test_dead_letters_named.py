"""Whom a dead letter is about."""

from __future__ import annotations

import json
import time

import pytest

from streams.core.dead_letters import Named, id_fields, ids_in
from streams.core.events import BadEvent, DeadReason, bad_event
from tests.conftest import SLOWNESS
from tests.property.test_core_regressions import catalog

FIELDS = id_fields(catalog())


@pytest.mark.parametrize(
    ("raw", "users"),
    [
        (b'{"userId": "bob", "properties": {"quantity": 5, "friend": "ann"}}', "bob"),
        (b'{"userId": 5, "properties": {"quantity": 6}}', "5"),
        (b'{"anonymousId": "ann", "event": "bob"}', "ann"),
        (b'{"userId": null, "user_id": "ann"}', "ann"),
        (b'["ann", {"bob": 1}]', "ann bob"),
        (b'{"userId": "ann", "x": bro', "ann"),
        (b"5,ann,2024-05-31", "5 ann"),
        (b"joann,15,\xff", ""),
        (b"\xff\xfe,ann", "ann"),
        (b'"\xff ann"', "ann"),
        (b'{"userId": "\xe9", "name": "ann"}', "ann"),
        *((b"[" * deep + b'"ann"' + b"]" * deep, "ann") for deep in (70, 300, 800, 900, 950, 980, 5_000)),
        (b"", ""),
    ],
)
def test_json_is_about_its_ids_and_other_bytes_about_every_word(raw: bytes, users: str) -> None:
    assert Named(["ann", "bob", "5"], FIELDS).in_record(raw) == set(users.split())


@pytest.mark.parametrize("user", ["Zoë", "a/b c", "emoji 😀", '"quoted"', "///", "user 1"])
def test_ids_are_found_however_they_are_written(user: str) -> None:
    named = Named([user, "user 2", "somebody"], FIELDS)
    for text in (json.dumps(user), json.dumps(user, ensure_ascii=False), user):
        assert named.in_record(b'{"userId": ' + text.encode() + b", broken") == {user}, text
    assert named.in_record(f"x{user}x,broken".encode()) == set()


def test_the_hexadecimal_digits_of_an_escape_may_be_capitals() -> None:
    assert Named(["😀"]).in_record(b'{"userId": "\\uD83D\\uDE00", broken') == {"😀"}


def test_a_mapped_column_holds_ids() -> None:
    named = Named(["ann", "bob"], ("customer.id",))
    assert named.in_record(b'{"customer": {"id": "ann"}, "friend": "bob"}') == {"ann"}
    assert named.in_record(b'{"customer": "bob"}') == {"bob"}


def test_stored_letters_are_read_through_and_emptied_ones_are_about_nobody() -> None:
    named = Named(["ann", "bob"], FIELDS)
    letter = bad_event(DeadReason.BAD_EVENT, "not bob", 1, b'{"userId": "ann"}')
    assert named.in_letter(letter.to_json()) == {"ann"}
    assert named.in_letter(bad_event(DeadReason.BAD_EVENT, "", 1, b"ann,\xff").to_json()) == {"ann"}
    assert named.in_letter(BadEvent(DeadReason.DELETED_USER, "ann", 1, b"").to_json()) == set()
    assert named.in_letter(b"no letter of ours: bob") == {"bob"}


def test_what_may_be_an_id_is_found_in_bytes_of_any_kind() -> None:
    for raw in (
        b"\xff ann",
        b'"\xff ann"',
        *(b"[" * deep + b'"ann"' + b"]" * deep for deep in (70, 900, 950, 980, 5_000)),
    ):
        assert "ann" in ids_in(raw, FIELDS)


def test_a_thousand_users_and_ten_thousand_letters_take_a_moment() -> None:
    letters = [
        bad_event(DeadReason.BAD_EVENT, "", n, b'{"userId": "user %d", "properties": {"price": %d}}' % (n, n)).to_json()
        for n in range(5_000)
    ]
    letters += [bad_event(DeadReason.BAD_EVENT, "", n, b"user %d,2024-05-31," % n).to_json() for n in range(5_000)]
    began_s = time.process_time()
    named = Named([f"user {n}" for n in range(1_000)], FIELDS)
    found = [named.in_letter(letter) for letter in letters]
    assert time.process_time() - began_s < 5.0 * SLOWNESS  # letter by user it was three quarters of an hour
    assert sum(map(len, found)) == 2_000
