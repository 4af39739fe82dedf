"""From YAML text to a ``Catalog``, or to every problem with its line, path, what was found and what was expected.

Three looks, each only when the one before found nothing: the text (YAML, keys), the types, the parts together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from config.base import Model
from config.campaign_checks import check_campaigns
from config.campaigns import Messaging
from config.catalog import Catalog
from config.catalog_file import CatalogFile
from config.checks import Finding, check
from config.errors import CatalogError, Problem
from config.origin import Origin
from config.problems import location_of, without_echoes, words
from config.yaml_text import build, compose, line_of, lines_of, path_text, refused

__all__ = ["MAX_BYTES", "load_catalog", "loads"]

MAX_BYTES = 1_000_000
MAX_PROBLEMS = 100
_HEAD_BYTES = 65_536
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\x28\xb5\x2f\xfd", b"BZh")


def load_catalog(path: Path | str) -> Catalog:
    """Read a catalog file. Raises CatalogError with every problem found."""
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise refused(source, None, "no such file", "a catalog in YAML") from error
    except OSError as error:
        raise refused(source, None, f"a file that cannot be read ({error.strerror})", "a catalog in YAML") from error
    try:
        return loads(data.decode("utf-8-sig"), source)
    except CatalogError as error:
        raise _data_file(source) if _looks_like_data(data) else error from None
    except UnicodeDecodeError as error:
        if _looks_like_data(data):
            raise _data_file(source) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise refused(source, line, f"byte 0x{data[error.start]:02x}, which is not UTF-8", "text in UTF-8") from error


def _looks_like_data(data: bytes) -> bool:
    """Whether a text that is no catalog is a file of events: packed, JSON lines, or cells with delimiters."""
    if data.startswith(_PACKED):
        return True
    lines = [line.strip() for line in data[:_HEAD_BYTES].splitlines()[:-1] if line.strip()][:10]
    if len(lines) < 2:
        return False  # one line may be a catalog in JSON
    if all(line.startswith(b"{") for line in lines):
        return True
    if b":" in lines[0]:
        return False  # a key, which a header hardly has
    return any(
        len({line.count(mark) for line in lines}) == 1 and mark in lines[0] for mark in (b",", b";", b"\t", b"|")
    )


def _data_file(source: str) -> CatalogError:
    return refused(
        source,
        None,
        "what looks like a file of events",
        "a catalog, which is a text in YAML; files of events stand behind it (tideline check CATALOG FILE)",
    )


def loads(text: str, source: str = "catalog") -> Catalog:
    """A catalog from YAML text. ``source`` names it in messages. Raises CatalogError with every problem found."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise refused(source, None, "a larger text", f"at most {MAX_BYTES} bytes")
    node = compose(text, source)
    data, problems = build(node)
    if problems:
        raise _error(problems, source)
    classes: dict[int, type[Model]] = {}
    try:
        file = CatalogFile.model_validate(data, context=classes)
    except ValidationError as error:
        for detail in without_echoes(error.errors(include_url=False), classes, data):
            location, _ = location_of(detail)
            found, expected = words(detail, data, classes)
            problems.append(Problem(line_of(node, location), path_text(location), found, expected))
        raise _error(problems, source) from error
    for location, found, expected in [*check(file), *_check_sections(file)]:
        problems.append(Problem(line_of(node, location), path_text(location), found, expected))
    if problems:
        raise _error(problems, source)
    return file.catalog().read_from(Origin(source, lines_of(node)))


def _check_sections(file: CatalogFile) -> Iterator[Finding]:
    """Campaigns beside the catalog. Without `messaging` it is that of the service, which is not known here."""
    for finding in check_campaigns(file, file.messaging or Messaging(), file.campaigns, file.journeys):
        if file.messaging is not None or "channels" not in finding[0]:
            yield finding


def _error(problems: list[Problem], source: str) -> CatalogError:
    return CatalogError(sorted(problems, key=lambda problem: problem.line or 0)[:MAX_PROBLEMS], source)
