"""What a browser sends of a form as a page shows it, by the rules of HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode

_VOID_NEWLINES = str.maketrans({"\n": None, "\r": None})


class _Fields(HTMLParser):
    """The fields of the forms with one attribute that marks them."""

    def __init__(self, action: str) -> None:
        super().__init__(convert_charrefs=True)
        self.fields: list[tuple[str, str]] = []
        self._action = action
        self._is_inside = False
        self._area: str | None = None
        self._text: list[str] = []
        self._select: str | None = None
        self._options: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_inside = given.get("action") == self._action
        if not self._is_inside or "disabled" in given:
            return
        if tag == "input" and "name" in given:
            self._input(given)
        elif tag == "textarea":
            self._area, self._text = given["name"], []
        elif tag == "select":
            self._select, self._options = given["name"], []
        elif tag == "option":
            self._options.append((given["value"], "selected" in given))

    def _input(self, given: dict[str, str]) -> None:
        kind = given.get("type", "text")
        if kind in ("checkbox", "radio"):
            if "checked" in given:
                self.fields.append((given["name"], given.get("value", "on")))
            return
        value = given.get("value", "")
        self.fields.append((given["name"], value if kind == "hidden" else value.translate(_VOID_NEWLINES)))

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False
        elif tag == "textarea" and self._area is not None:
            self.fields.append((self._area, "".join(self._text).removeprefix("\n")))
            self._area = None
        elif tag == "select" and self._select is not None:
            chosen = [value for value, is_selected in self._options if is_selected] or [self._options[0][0]]
            self.fields.append((self._select, chosen[-1]))
            self._select = None


def sent(page: str, action: str) -> dict[str, str]:
    """The fields of the form with that action, untouched, as a server reads them: each with its last value."""
    parser = _Fields(action)
    parser.feed(page)
    parser.close()
    lines = [
        (name, value.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")) for name, value in parser.fields
    ]
    assert lines, f"no form is sent to {action}"
    return dict(parse_qsl(urlencode(lines), keep_blank_values=True))
