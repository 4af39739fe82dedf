"""docs/input.md says what the code does: every reason is explained, the examples are read as they stand."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from pydantic import TypeAdapter

from config.catalog import CsvInput, Input
from streams.core.decode import build_decoder
from streams.core.event_time import EARLIEST_S, LATEST_S
from streams.core.events import MAX_NAME_BYTES, MAX_TRAIT_BYTES, MAX_USER_BYTES, BadEvent, DeadReason, Event
from streams.core.fields import MAX_DEPTH, SHORT_BYTES
from tests.conftest import ROOT
from tests.unit.decode_world import CSV, CSV_HEADER, SEGMENT, catalog, csv_row

TEXT = (ROOT / "docs" / "input.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


def raised() -> set[str]:
    """Names of the reasons that the code gives somewhere; their definition and their hints alone do not count."""
    sources = [*(ROOT / "streams" / "core").glob("*.py"), *(ROOT / "streams" / "adapters").glob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r"\bDeadReason\.([A-Z_]+)", code))


def test_the_table_of_reasons_has_all_that_are_given_and_no_others() -> None:
    table = re.findall(r"^\| `(\w+)` \|", TEXT.split("## Dead letters")[1], re.MULTILINE)
    given = raised()
    assert table == [reason.value for reason in DeadReason if reason.name in given]


@pytest.mark.parametrize("line", EXAMPLES[0].splitlines())
def test_the_segment_examples_are_events(line: str) -> None:
    event = build_decoder(catalog(SEGMENT)).decode(line.encode(), 0, None, 1)
    assert isinstance(event, Event)
    assert event.user == "ann"


def test_the_mapping_example_is_a_mapping() -> None:
    import yaml

    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0])
    assert isinstance(TypeAdapter(Input).validate_python(example["input"]), CsvInput)


def test_the_dead_letter_example_is_one() -> None:
    row = csv_row(amount='"12,50"')
    event = build_decoder(catalog(CSV), header=CSV_HEADER).decode(row.encode(), 0, None, 1)
    assert isinstance(event, BadEvent)
    example = json.loads(EXAMPLES[1])
    letter = msgspec.json.decode(event.to_json())
    assert list(letter) == list(example)
    assert (letter["reason"], letter["detail"]) == (example["reason"], example["detail"])


@pytest.mark.parametrize(
    "said",
    [
        f"1 to {MAX_USER_BYTES} bytes",
        f"1 to {MAX_NAME_BYTES} bytes",
        f"text up to {MAX_TRAIT_BYTES} bytes",
        f"up to {MAX_DEPTH} levels",
        f"up to {SHORT_BYTES}",
        f"{catalog(SEGMENT).limits.property_bytes:,}",
        f"From {1970 + EARLIEST_S / 31_556_952:.0f} to {1970 + LATEST_S / 31_556_952:.0f}",
    ],
)
def test_the_limits_are_those_of_the_code(said: str) -> None:
    assert said in TEXT.replace("\n", " ")
