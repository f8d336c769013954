"""The pages: small, self-contained, one line to a half, the same facts for programs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from oriel.router.pages import PAGES, halves

NAMES = sorted(PAGES)


class Reader(HTMLParser):
    """Collects what an accessible, self-contained page must have or must not."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {f"{tag}.{name}": value for name, value in attrs}
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag in self.open:
            raise AssertionError(f"</{tag}> closes <{self.open[-1]}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_stands_on_its_own(name: str) -> None:
    page = halves()[f"html:{name}"]
    text = f"{page.before}0123{page.after}"
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.attributes["html.lang"] == "en"
    assert reader.attributes["svg.aria-hidden"] == "true"
    assert {"main", "h1", "title"} <= set(reader.tags)
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert "prefers-color-scheme:dark" in text
    assert "width=device-width" in text
    assert not re.search(r"https?://|url\(|\{\{", text)
    assert len(text) < 4000


@pytest.mark.parametrize("key", sorted(halves()))
def test_each_half_is_one_line_of_a_map(key: str) -> None:
    for half in (halves()[key].before, halves()[key].after):
        assert half == half.strip()
        assert half
        assert half.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_programs_get_the_form_of_the_apis_errors(name: str) -> None:
    page = halves()[f"json:{name}"]
    told = json.loads(f"{page.before}0123{page.after}")
    assert told["request_id"] == "0123"
    assert list(told) == ["id", "message", "request_id"]
    assert told["id"] == PAGES[name].id


def luminance(colour: str) -> float:
    """Relative, by WCAG 2."""
    short = colour if len(colour) == 7 else "#" + "".join(2 * each for each in colour[1:])
    parts = [int(short[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_read_in_the_light_and_in_the_dark(name: str) -> None:
    light, dark = (
        dict(re.findall(r"--(\w+):(#\w+)", theme))
        for theme in re.findall(r":root\{([^}]*)\}", halves()[f"html:{name}"].before)
    )
    assert set(light) == set(dark)
    for theme in (light, dark):
        assert contrast(theme["ink"], theme["card"]) >= 7
        assert contrast(theme["soft"], theme["card"]) >= 4.5
        assert contrast(theme["tint"], theme["card"]) >= 3
