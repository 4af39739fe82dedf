"""The form of a journey loses nothing, its buttons do what they say, and its page shows every step once."""

from __future__ import annotations

from typing import Any

import pytest

from config.campaign_checks import read_journey
from config.journeys import MAX_STEPS, Journey
from streams.api.problems import Problem
from streams.campaigns.figures import ENDS
from streams.console.campaign_form import CampaignForm
from streams.console.journey_form import after, definition_of, steps_of, steps_of_journey
from streams.console.journey_tree import Counts, Node, tree_of
from streams.console.language import Format
from streams.console.step_wrong import step_field
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from tests.unit.test_console_campaign_form import CATALOG, sent

STEPS: dict[str, Any] = {
    "first": {"send": {"parts": {"subject": "Hello", "body": "Come in"}}, "offer": {"unit": "percent", "value": 5}},
    "night": {"wait": "90m"},
    "hope": {
        "wait_until": {"event": "Order", "where": {"kind": "boat"}},
        "at_most": "3d",
        "then": "end",
        "otherwise": "fork",
    },
    "come": {"wait_until": {"enters": "orders.high"}, "at_most": "36h"},
    "fork": {
        "split": [
            {"when": {"prediction": "orders", "category": ["high"]}, "then": "chance"},
            {"when": {"prediction": "orders", "score": {"min": 25, "max": 75}}, "then": "end"},
            {"when": {"segment": "orders.low"}, "then": "night"},
            {
                "when": {"any": [{"trait": "country", "equals": "A"}, {"event": "Order", "count": {"min": 1}}]},
                "then": "last",
            },
        ],
        "otherwise": "last",
    },
    "chance": {"random_split": [{"share": 0.3, "then": "last"}, {"share": 0.7, "then": "end"}]},
    "last": {
        "send": {"parts": {"body": "Bye"}, "by_channel": {"webhook": {"body": "Bye, hook"}}},
        "offer": {
            "unit": "percent", "prediction": "orders", "edges": [50], "values": [20, 5], "order_value": 40,
            "budget": {"amount": 500, "per": "day"}, "fixed_for": "7d",
        },
        "at_most": "2d",
        "then": "come",
    },
}  # fmt: skip


def journey(steps: dict[str, Any] = STEPS, **more: object) -> Journey:
    data = {
        "name": "Mine",
        "segment": "orders.high",
        "channels": ["webhook"],
        "conversion": {"event": "Order"},
        "steps": steps,
    }
    return read_journey("mine", data | more)


def test_a_journey_is_the_same_after_its_form() -> None:
    before = journey(exit_on="goal", reentry="90d")
    form = CampaignForm.of_definition("mine", before, "en")
    assert "steps" not in form.rest
    assert read_journey("mine", form.definition) == before
    assert journey(definition_of(steps_of(sent(form.steps), "en"), "en")) == journey()


def test_steps_as_text_are_those_that_count() -> None:
    form = CampaignForm.of_definition("mine", journey(), "en")
    text = "steps: {only: {wait: 1h}}"
    assert CampaignForm.of({"kind": "journey", "goal": "Order", "rest": text}, "en").definition["steps"] == {
        "only": {"wait": "1h"}
    }
    assert len(form.definition["steps"]) == 7


def test_buttons_add_move_and_remove() -> None:
    steps = steps_of_journey(journey(), "en")
    more = after(steps, "add_wait")
    assert [each.id for each in more] == [*STEPS, "wait"]
    assert after(more, "add_wait")[-1].id == "wait_2"
    assert [each.id for each in after(steps, "s1_up")][:2] == ["night", "first"]
    assert [each.id for each in after(steps, "s0_down")][:2] == ["night", "first"]
    assert (
        after(steps, "s0_up") == after(steps, "s6_down") == after(steps, "s9_drop") == after(steps, "explode") == steps
    )
    gone = after(steps, "s4_drop")
    assert "fork" not in [each.id for each in gone]
    assert gone[2].otherwise == "", "what led there leads to the step below"
    assert len(after(steps, "s4_more_path")[4].paths) == 5
    assert [path.kind for path in after(steps, "s4_drop_path_0")[4].paths] == ["score", "segment", "other"]
    assert len(after(steps, "s6_more_step")[6].offer.steps) == 3
    for _ in range(MAX_STEPS):
        steps = after(steps, "add_send")
    assert len(steps) == MAX_STEPS


def test_a_path_without_a_step_goes_to_the_one_below() -> None:
    steps = after(after((), "add_random_split"), "add_wait")
    assert definition_of(steps, "en")["random_split"]["random_split"] == [{"share": 0.5, "then": "wait"}] * 2
    assert definition_of(steps[:1], "en")["random_split"]["random_split"][0]["then"] == "end"


@pytest.mark.parametrize("change", [{"s0_more": "{["}, {"s0_more": "1"}])
def test_hidden_fields_are_not_made_up(change: dict[str, str]) -> None:
    with pytest.raises(Problem):
        steps_of(sent(steps_of_journey(journey(), "en")) | change, "en")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("steps.night.wait", "s1_span"),
        ("steps.hope.at_most", "s2_span"),
        ("steps.hope.wait_until.event", "s2_event"),
        ("steps.fork.split[2].when.segment", "s4_path_2"),
        ("steps.chance.random_split", "s5_step"),
        ("steps.chance.random_split[1]", "s5_path_1"),
        ("steps.first.send.parts.body", "s0_part_1_text"),
        ("steps.last.offer.values[1]", "s6_step_1_value"),
        ("steps.last.offer", "s6_offer"),
        ("steps.nowhere", "steps"),
        ("steps", "steps"),
    ],
)
def test_what_is_refused_is_told_by_the_field_of_its_step(path: str, field: str) -> None:
    assert step_field(ENGLISH, steps_of_journey(journey(), "en"), path, "something else")[0] == field


def numbers(nodes: list[Node]) -> list[int]:
    found = []
    for node in nodes:
        found += [] if node.number is None else [node.number]
        for branch in node.branches:
            found += numbers(branch.nodes)
    return found


def test_the_tree_of_a_journey_has_every_step_once_with_its_visits() -> None:
    tree = tree_of(ENGLISH, Format("en"), CATALOG, journey(), Counts({"first": 12, "hope": 1}, {"night": 3}))
    assert sorted(numbers(tree)) == list(range(1, 8))
    assert [(node.words, node.detail, node.visits, node.waiting) for node in tree] == [
        ("Send a message", "Hello", "12 times", None),
        ("Wait", "90\u00a0minutes", "0 times", "3 wait here"),
        ("Wait until something happens", "The user does something – Order · at most 3\u00a0days", "1 time", None),
    ]
    happened, otherwise = tree[2].branches
    assert (happened.words, [each.words for each in happened.nodes]) == ("When it has happened", ["Leave the journey"])
    fork = otherwise.nodes[0]
    assert [branch.nodes[0].words for branch in fork.branches] == [
        "Split by chance",
        "Leave the journey",
        "→ Step 2: Wait",
        "→ Step 7: Send a message",
        "→ Step 7: Send a message",
    ]
    chance = fork.branches[0].nodes[0]
    assert [branch.words for branch in chance.branches] == ["30%", "70%"]
    french = tree_of(FRENCH, Format("fr"), CATALOG, journey(), Counts({}, {}))
    assert french[0].visits == "0 passage"
    assert ENGLISH.journey_ended.keys() == set(ENDS)
