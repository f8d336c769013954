"""Owns the pages that the router answers itself, as HTML and as JSON. Must not know HAProxy.

A page is two pieces of one line each, before and after the request's id: HAProxy keeps both in
a map and puts the id between. `page.html` is the one template; each page fills it in here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_CONTROLS = frozenset(map(chr, [*range(32), 127]))
ID = "{{request_id}}"
FORMS = ("html", "json")


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says, to people and to programs."""

    id: str
    title: str
    message: str
    hint: str
    tint: str
    """The drawing's colour, on white."""
    dark: str
    """The same where the visitor wants dark pages."""
    drawing: str
    head: str = ""


@dataclass(frozen=True, slots=True)
class Halves:
    """A page's text before and after the request's id, each a single line."""

    before: str
    after: str


PAGES: Mapping[str, Page] = {
    "error": Page(
        id="application_error",
        title="Application error",
        message="Something went wrong in the app, and it could not answer this request. "
        "Please try again in a moment.",
        hint="Are you its owner? <code>oriel logs --tail</code> shows what happened.",
        tint="#d1435b",
        dark="#f0808f",
        drawing='<circle cx="28" cy="28" r="23"/><path d="M28 16v15"/><path d="M28 39.5v.01"/>',
    ),
    "booting": Page(
        id="starting",
        title="The app is starting",
        message="It is on its way up. This page tries again by itself.",
        hint="Are you its owner? <code>oriel ps</code> shows how far it is.",
        tint="#5b5bd6",
        dark="#a3a3f5",
        drawing='<path d="M28 5a23 23 0 1 1-23 23"/><path d="M28 16v12l8 5"/>',
        head='<meta http-equiv="refresh" content="2">',
    ),
    "maintenance": Page(
        id="maintenance",
        title="Offline for maintenance",
        message="This app is being worked on and will be back soon. "
        "Please check back in a little while.",
        hint="Nothing is wrong with your connection.",
        tint="#b7791f",
        dark="#e3ad4f",
        drawing='<circle cx="28" cy="28" r="23"/><path d="M22 19v18"/><path d="M34 19v18"/>',
    ),
    "blank": Page(
        id="blank_app",
        title="Nothing here yet",
        message="This app exists, and nothing has been deployed to it so far.",
        hint="Are you its owner? <code>git push oriel main</code> puts the first version here.",
        tint="#5b5bd6",
        dark="#a3a3f5",
        drawing='<rect x="7" y="7" width="42" height="42" rx="9" stroke-dasharray="7 7"/>'
        '<path d="M28 20v16"/><path d="M20 28h16"/>',
    ),
    "unknown": Page(
        id="no_such_app",
        title="No such app",
        message="There is no app at this address.",
        hint="Please check the spelling of the host name. "
        "Are you its owner? <code>oriel apps</code> lists what there is.",
        tint="#5b566e",
        dark="#aca6c2",
        drawing='<circle cx="25" cy="25" r="17"/><path d="M38 38l12 12"/>'
        '<path d="M19 19l12 12"/><path d="M31 19l-12 12"/>',
    ),
}

_JSON_MESSAGES: Mapping[str, str] = {
    "error": "Application error: the app could not answer this request.",
    "booting": "The app is starting; try again in a moment.",
    "maintenance": "The app is offline for maintenance.",
    "blank": "Nothing has been deployed to this app yet.",
    "unknown": "There is no app at this address.",
}


@cache
def halves() -> Mapping[str, Halves]:
    """Every page in both forms, by `FORM:NAME`."""
    template = files(__package__).joinpath("page.html").read_text("utf-8")
    made: dict[str, Halves] = {}
    for name, page in PAGES.items():
        made[f"html:{name}"] = _split(_html(page, template))
        made[f"json:{name}"] = _split(_json(page, _JSON_MESSAGES[name]))
    return made


_RAW = re.compile(
    r"(<(script|style|pre|textarea)\b[^>]*>)(.*?)(</\2\s*>)", re.DOTALL | re.IGNORECASE
)
_BREAKS = {"script": "\u2028", "style": " ", "pre": "&#10;", "textarea": "&#10;"}


def one_line(html: str) -> str:
    """Somebody's page on one line, looking the same: HAProxy sends no line breaks of a page.

    Most are only space. In `pre` and `textarea` they become references; in a script U+2028, which
    ends a line there as well.
    """
    parts: list[str] = []
    at = 0
    for match in _RAW.finditer(html := html.replace("\r\n", "\n").replace("\r", "\n")):
        parts += [_spaced(html[at : match.start()], " "), _spaced(match[1], " ")]
        parts += [_spaced(match[3], _BREAKS[match[2].lower()]), match[4].replace("\n", " ")]
        at = match.end()
    return "".join([*parts, _spaced(html[at:], " ")]).strip()


def _spaced(text: str, line_break: str) -> str:
    tab = "&#9;" if line_break.startswith("&") else " "
    text = text.replace("\n", line_break).replace("\t", tab)
    return "".join(each for each in text if each not in _CONTROLS)


def _html(page: Page, template: str) -> str:
    """The page for people, on one line."""
    text = "".join(line.strip() for line in template.splitlines())
    for field in ("head", "title", "tint", "dark", "drawing", "message", "hint"):
        text = text.replace("{{" + field + "}}", getattr(page, field))
    return text


def _json(page: Page, message: str) -> str:
    """The page for programs: the same three fields as the API's errors."""
    return json.dumps({"id": page.id, "message": message, "request_id": ID}, separators=(",", ":"))


def _split(text: str) -> Halves:
    """Cut at the request's id."""
    before, after = text.split(ID)
    return Halves(before, after)
