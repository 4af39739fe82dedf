"""The first look at a file: whether it is of the kind that the catalog says, and has the columns that it asks for.

A file that is not gets one error that says what it is and what to write in the catalog.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import Any

from config.catalog import Catalog, CsvInput
from config.errors import InputError
from config.places import mapped_fields
from config.problems import closest

_DELIMITERS = (";", "\t", "|", ",")
_LISTED = 40
_SHOWN_CHARS = 60


def check_header(text: str, header: Sequence[str], catalog: Catalog, source: str) -> None:
    """Compare the first line of a CSV, and its cells, with the catalog's mapping.

    Raises InputError for columns that it names and that are not there or there twice, also if nothing makes use of
    them: most often they are spelt in another way. And if the columns are separated by something else, or the file is
    JSON, for that alone.
    """
    assert isinstance(catalog.input, CsvInput)
    wanted = list(dict.fromkeys(field.strip() for field, _ in mapped_fields(catalog)))
    names = [name.strip() for name in header]
    if all(names.count(name) == 1 for name in wanted):
        return
    if _is_json(text):
        raise InputError(source, _json_words(text, catalog))
    other = _delimiter(text, wanted, names, catalog.input.delimiter)
    lines = [] if other is None else [_delimiter_words(other, catalog)]
    if other is not None:
        names = _cells(text, other)
    problems = [_column_words(field, names, catalog) for field in wanted if names.count(field) != 1]
    if problems:
        lines += [*problems, f"the columns are {listed(names)}"]
    if len(lines) > 1:
        lines = ["its header does not fit the catalog:", *(f"  {line}" for line in lines)]
    raise InputError(source, "\n".join(lines))


def listed(names: Sequence[str]) -> str:
    """Names in quotes, as many as are of use."""
    if not names:
        return "none"
    shown = ", ".join(repr(name[:_SHOWN_CHARS]) for name in names[:_LISTED])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _column_words(field: str, names: Sequence[str], catalog: Catalog) -> str:
    asking = [catalog.origin.place(place) for name, place in mapped_fields(catalog) if name.strip() == field]
    places = " and ".join(asking)
    number = names.count(field)
    if number:
        return f"there are {number} columns named {field!r}, for which {places} asks"
    close = closest(field, names)
    meant = "" if close is None else f" (did you mean {close!r}?)"
    return f"there is no column {field!r}{meant}, for which {places} asks"


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error:  # a cell above the csv module's limit: no header of anything
        return []


def _delimiter(text: str, wanted: Sequence[str], names: Sequence[str], given: str) -> str | None:
    """What separates the columns, if it is something else than the given character."""
    best, most = None, sum(name in names for name in wanted)
    for other in _DELIMITERS:
        found = sum(name in wanted for name in _cells(text, other)) if other != given else 0
        if found > most:
            best, most = other, found
    if best is None and len(names) == 1:
        return next((other for other in _DELIMITERS if other != given and other in text), None)
    return best


def _delimiter_words(other: str, catalog: Catalog) -> str:
    assert isinstance(catalog.input, CsvInput)
    given = catalog.input
    also = ' and decimal: "."' if other == given.decimal else ""
    is_given = "delimiter" in given.model_fields_set
    place = catalog.origin.place(("input", "delimiter")) if is_given else "input.delimiter is not set, which"
    return (
        f"its columns are separated by {_named(other)}, and {place} {'is' if is_given else 'means'} "
        f"{_named(given.delimiter)}: set delimiter: {json.dumps(other)}{also} under input"
    )


def _named(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else repr(delimiter)


# --- JSON where a CSV should be, and the reverse ---------------------------------------------------------------------


def _is_json(text: str) -> bool:
    """Whether the first line of a file begins JSON; a header may have brackets too."""
    start = text.lstrip()
    return start.rstrip() in ("{", "[") or start.startswith(('{"', "[{", '{ "', "[ {"))


def _json_words(text: str, catalog: Catalog) -> str:
    """What to write for JSON under a CSV's catalog."""
    head = f"is JSON, and {catalog.origin.place(('input', 'format'))} is csv"
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return f"{head}: write it as JSON lines, one object a line, and set input.format: ndjson"
    if record.get("type") in ("track", "identify") and "userId" in record:
        return f"{head}: its records are in the form of the Segment spec, so leave input out of the catalog"
    return f"{head}: set input.format: ndjson, and name its fields (paths like a.b too): {listed(_paths(record))}"


def _paths(record: dict[str, Any], before: str = "", depth: int = 0) -> list[str]:
    found: list[str] = []
    for key, value in record.items():
        if isinstance(value, dict) and value and depth < 4:
            found += _paths(value, f"{before}{key}.", depth + 1)
        else:
            found.append(before + key)
    return found


def csv_words(texts: Sequence[bytes], catalog: Catalog) -> str | None:
    """What to write if these first lines of a file, which should be JSON, are those of a CSV; None if they are not."""
    if len(texts) < 2:
        return None
    lines = [text.decode(errors="replace") for text in texts]
    rows = {mark: [_cells(line, mark) for line in lines] for mark in _DELIMITERS}
    same = {mark: cells for mark, cells in rows.items() if len(cells[0]) > 1 and len({len(row) for row in cells}) == 1}
    if not same:
        return None
    mark = max(same, key=lambda mark: len(same[mark][0]))
    delimiter = "" if mark == "," else f", delimiter: {json.dumps(mark)}"
    given = f"{catalog.origin.place(('input', 'format'))} is {catalog.input.format}"
    if "input" not in catalog.model_fields_set:
        given = "without input the catalog reads Segment JSON"
    return (
        f"is a CSV, and {given}: set input.format: csv and name its columns, as in "
        f"input: {{format: csv{delimiter}, user: ..., event: ..., time: ...}}. The columns are {listed(same[mark][0])}"
    )
