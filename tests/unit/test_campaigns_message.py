"""Messages: what a template can say, what it cannot do, and where it is wrong."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from config.campaigns import Message
from streams.campaigns.message import MAX_SIZE, CompiledMessage, Messages, unknown_keys, unknown_names
from streams.campaigns.question import MessageFailed
from tests.conftest import SLOWNESS

CONTEXT: dict[str, Any] = {
    "user": {"id": "u1", "name": "Ann <b>"},
    "score": 81.2,
    "category": "high",
    "likelihood": 0.23,
    "offer": {"value": 20, "unit": "percent"},
    "reasons": ["Cart in about the last 7 days: many"],
    "remembered": {"Cart": {"items": ["socks", "hat"], "total": 12.5}},
    "event": {},
    "campaign": {"id": "c", "name": "C"},
}


def rendered(template: str, part: str = "body") -> str:
    return CompiledMessage.of(Message(parts={part: template})).render(["open"], CONTEXT)["open"][part]


def failure(template: str) -> str:
    with pytest.raises(MessageFailed) as caught:
        rendered(template)
    return str(caught.value)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hi {{ user.name }}, {{ offer.value }} % off", "Hi Ann <b>, 20 % off"),
        ("{{ remembered.Cart.items | join(', ') }}", "socks, hat"),
        ("{% for item in remembered.Cart['items'] %}{{ loop.index }}.{{ item }} {% endfor %}", "1.socks 2.hat "),
        ("{{ user.city | default('your city') }}", "your city"),
        ("{% if remembered.Views is defined %}yes{% else %}no{% endif %}", "no"),
        ("{{ remembered.Views.items | default('nothing') }}", "nothing"),
        ("{% if category in ['high', 'medium'] %}{{ score | round(1) }}{% endif %}", "81.2"),
        ("{{ score | round }} of {{ 100.0 | round }}, {{ 80.5 | round }}", "81 of 100, 81"),
        ("{% set total = remembered.Cart.total * 2 %}{{ total }}", "25.0"),
        ("{{ reasons | first }}", "Cart in about the last 7 days: many"),
        ("{{ (user.name ~ '!') | upper }}", "ANN <B>!"),
        ("{% for key, value in user | items %}{{ key }} {% endfor %}", "id name "),
    ],
)
def test_what_a_message_can_say(template: str, text: str) -> None:
    assert rendered(template) == text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ user_id }}", [("body, line 1", "user_id")]),
        (
            "{{ user.id }}\n{{ score }}{{ score }}{{ likelihod }}",
            [("body, line 2", "likelihod"), ("body, line 2", "score")],
        ),
        ("{% if score is defined %}{{ score }}{% endif %}{{ offer.value | default(0) }}", []),
        ("{% for each in range(2) %}{{ loop.index }}{{ each }}{% endfor %}", []),
        ("{% if user.a is defined %}{% set a = 1 %}{% endif %}{{ a }}", []),
        ("{{ user[key] }}", [("body, line 1", "key")]),
    ],
)
def test_names_of_which_nothing_is_ever_known_are_found(template: str, expected: list[tuple[str, str]]) -> None:
    assert unknown_names(Message(parts={"body": template}), ("user", "remembered")) == expected
    own = Message(parts={"body": "Hi"}, by_channel={"push": {"body": template}})
    assert unknown_names(own, ("user", "remembered")) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ event.item }}\n{{ event['price'] }}", [("body, line 2", "event", "price")]),
        ("{{ offer.value }} {{ offer.amount }}", [("body, line 1", "offer", "amount")]),
        ("{{ user.nam }} {{ event[key] }} {{ event.item.price }}", []),
        ("{{ event.price | default(0) }} {{ event.other }}", []),
        ("{% set event = user %}{{ event.price }}", []),
    ],
)
def test_keys_that_nothing_ever_has_are_found(template: str, expected: list[tuple[str, str, str]]) -> None:
    known = {"event": ("item",), "offer": ("value", "unit")}
    assert unknown_keys(Message(parts={"body": template}), known) == expected


def test_to_look_for_names_takes_no_longer_than_a_template_may() -> None:
    begin_s = process_time()
    assert unknown_names(Message(parts={"body": "{{ 'x'" + f" | list | join('{'y' * 99}')" * 40 + " }}"}), ()) == []
    assert process_time() - begin_s < 2.0 * SLOWNESS


def test_parts_of_html_are_escaped_and_others_are_not() -> None:
    assert rendered("{{ user.name }}", "body_html") == "Ann &lt;b&gt;"
    assert rendered("{{ user.name }}", "body") == "Ann <b>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a\nb\n{{ user.nam }}", "body, line 3: 'user.nam' is not known of this user"),
        ("\n{{ remembered.basket.products }}", "body, line 2: 'remembered.basket' is not known of this user"),
        ("{{ remembered['basket'].products[0].name }}", "body, line 1: 'remembered.basket' is not known of this user"),
        ("{% set kept = remembered.basket %}{{ kept.products }}", "body, line 1: 'remembered.basket' is not known"),
        ("{% for each in user.kept %}{% endfor %}", "body, line 1: 'user.kept' is not known of this user"),
        ("{{ event.item | tojson }}", "body, line 1: 'event.item' is not known of this event"),
        ("{{ user.age | round }}", "body, line 1: 'user.age' is not known of this user"),
        ("{{ user[user.key] }}", "body, line 1: 'user.key' is not known of this user"),
        ("{{ reasons[1] }}", "body, line 1: 'reasons.1' is not known"),
        ("\n{% if %}", "body, line 2: Expected an expression"),
        ("{{ 5 // (score - score) }}", "body, line 1: "),
        ("{{ nothing }}", "body, line 1: 'nothing' is not known"),
        ("\n\n{{ user.name | map('x') }}", "body, line 3: unknown filter 'map'; known: abs, "),
        ("{{ user.name is sameas 3 }}", "body, line 1: unknown test 'sameas'"),
        ("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}", "body: too deep"),
    ],
)
def test_errors_say_where(template: str, words: str) -> None:
    assert failure(template).startswith(words)


@pytest.mark.parametrize(
    "template",
    [
        "{{ user.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ user['__class__'] }}",
        "{{ user | attr('keys') }}",
        "{{ user.keys() }}",
        "{{ 'a'.join(['b']) }}",
        "{{ '{0.__class__}'.format(user) }}",
        "{{ range.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ loop }}",
        "{{ cycler }}",
        "{{ lipsum(5) }}",
        "{{ namespace(a=1) }}",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{% macro m() %}{{ m() }}{% endmacro %}",
        "{% block b %}{% endblock %}",
        "{% call(x) user() %}{% endcall %}",
        "{% filter upper %}x{% endfilter %}",
        "{% set x %}y{% endset %}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ (1).real }}",
        "{{ {'a': 1} }}",
        "{{ [[1]] }}",
        "{{ (user, user) }}",
    ],
)
def test_what_a_message_cannot_do(template: str) -> None:
    assert failure(template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(100000000) %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000) | sum }}",
        "{{ range(100000000) | list }}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 2 ** 1000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
        "{% set a = [1] %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
        "{% set a = 9 %}" + "{% set a = a * a %}" * 60 + "{{ a }}",
        "{{ [1] | tojson(2000000000) }}",
        "{{ 1 | round(-1000000000) }}",
        "{{ 'x' | truncate(1000000000, true, '') }}",
        "{{ 'x' | center(1000000000) }}",
        "{% for i in range(4000) %}{{ user.name }}" + "x" * 60 + "{% endfor %}",
        "{% for i in range(5000) %}{{ 'x' | upper | lower | title }}{% endfor %}",
    ],
)
def test_time_and_size_have_bounds(template: str) -> None:
    begin_s = process_time()
    assert failure(template)
    assert process_time() - begin_s < 2.0 * SLOWNESS


def test_the_worst_that_is_allowed_takes_seconds_and_not_hours() -> None:
    """Every step on a text as large as one may be."""
    begin_s = process_time()
    with pytest.raises(MessageFailed, match="more than 5,000 rounds"):
        rendered(
            "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 13 + "{% for i in range(4999) %}{% if a|upper == a|title %}"
            "{% endif %}{% endfor %}"
        )
    assert process_time() - begin_s < 5.0 * SLOWNESS


def test_a_part_may_be_long_but_not_longer() -> None:
    text = "{% for i in range(10) %}" + "x" * (MAX_SIZE // 10) + "{% endfor %}"
    assert len(text) > 20_000  # as code would make it; what people write has a bound of its own
    compiled = CompiledMessage.of(Message.model_construct(parts={"body": text}, by_channel={}))
    assert len(compiled.render(["open"], CONTEXT)["open"]["body"]) == MAX_SIZE


def test_messages_of_a_plan_are_compiled_when_it_is_made_and_one_that_cannot_be_fails_alone() -> None:
    good, bad = Message(parts={"body": "{{ user.id }}"}), Message(parts={"body": "{% if %}"})
    messages = Messages([good, bad])
    assert messages.render(good, ["open"], {"user": {"id": "a"}}) == {"open": {"body": "a"}}
    with pytest.raises(MessageFailed, match="body, line 1: Expected an expression"):
        messages.render(bad, ["open"], {})


def test_a_channel_has_texts_of_its_own() -> None:
    message = Message(parts={"body": "Hello", "title": "T"}, by_channel={"push": {"body": "Hi"}, "mail": {"html": "x"}})
    assert CompiledMessage.of(message).render(["push", "mail", "log"], {}) == {
        "push": {"body": "Hi", "title": "T"},
        "mail": {"body": "Hello", "title": "T", "html": "x"},
        "log": {"body": "Hello", "title": "T"},
    }


def test_nobody_is_shown_what_is_none() -> None:
    message = CompiledMessage.of(Message(parts={"body": "Hello {{ user.name }}"}))
    with pytest.raises(MessageFailed, match="a value that is none cannot be shown"):
        message.render(["open"], {"user": {"name": None}})


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'some words' | truncate(2) }}",  # asserts
        "{% for i in range(1e400) %}{% endfor %}",  # overflows
        "{{ " + "9" * 5_000 + " }}",  # more digits than Python reads
        "{{ 1e400 | int }}",
        "{{ score | round('x') }}",
        "{% for i in range(1, 5, 0) %}{% endfor %}",
    ],
)
def test_whatever_a_template_makes_of_jinja_is_a_failed_message(template: str) -> None:
    assert failure(template)


def test_what_is_searched_compared_and_looked_up_counts() -> None:
    """`in` over a long list, in a loop that is allowed, would take minutes; so would long chains of lookups."""
    begin_s = process_time()
    assert "rounds" in failure(
        "{% set a = range(4000) | list %}{% for i in range(4900) %}{% if 'x' in a %}{% endif %}{% endfor %}"
    )
    assert "rounds" in failure("{% for i in range(4900) %}{% if i > 9999 %}{% endif %}{% endfor %}")
    assert "rounds" in failure("{% for i in range(4900) %}{{ remembered.Cart.items[0] }}{% endfor %}")
    assert process_time() - begin_s < 2.0 * SLOWNESS
