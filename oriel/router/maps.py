"""Owns the maps that HAProxy looks things up in: what is in each, and the text of its file.

A map's file is named by a digest of its content; its entries change while HAProxy runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from urllib.parse import quote

from oriel.router.pages import halves
from oriel.router.places import Places, slot_name
from oriel.router.table import PAGE_SAFE, AppRoute, RouteTable

NOBODY = "-"
"""An app id that no app has."""

CHALLENGES = "/.well-known/acme-challenge/"

UNKNOWN = "-|unknown|-||||"
"""The route of a host that is no app's."""

PLAIN = "slot-"
"""So begins the route of an app that is served and asks for nothing more."""

MORE = "="
"""In front of any other app's route, which so names no backend."""

PAGE_FIELDS = {"error": 4, "maintenance": 5}
"""Pages that an app may have of its own, and where in its route they are named."""


def host_entries(table: RouteTable) -> dict[str, str]:
    """The map from host, or `*.` and a part of one, to app id; the platform's own lead nowhere."""
    return {
        **dict.fromkeys(table.reserved, NOBODY),
        **{host: app.app_id for app in table.apps for host in app.hosts},
    }


def app_entries(table: RouteTable, places: Places) -> dict[str, str]:
    """The map from app id to `SLOT|MODE|CHANNEL|PAGE|PAGE|DYNO|OPTIONS`: one entry, that changes
    at once. The slot is `=SLOT` where more is asked than to be served.

    The pages are the app's own, by their digests: for errors, for maintenance. The dyno is named
    where there is only one. Of the options, `acme` and `https` are answered before any dyno.
    """
    return {app.app_id: "|".join(_entry(app, places.by_app[app.app_id])) for app in table.apps}


def _entry(app: AppRoute, slot: int) -> tuple[str, ...]:
    only = app.servers[0].name if len(app.servers) == 1 else ""
    pages = (page_key(app.error_page), page_key(app.maintenance_page))
    options = {"acme": app.challenges is not None, "sticky": app.sticky, "https": app.https}
    # In this order: the rules look at the beginning for the first, and at the end for the last.
    chosen = "+".join(word for word, is_on in options.items() if is_on)
    more = "" if app.mode == "serve" and not chosen else MORE
    return (more + slot_name(slot), app.mode, app.channel, *pages, only, chosen)


def challenge_entries(table: RouteTable) -> dict[str, str]:
    """The map from host and path to what a certificate authority is to be answered."""
    return {
        f"{host}{CHALLENGES}{token}": answer
        for app in table.apps
        for (host, token), answer in (app.challenges or {}).items()
    }


def page_key(page: str) -> str:
    """What an app's own page is called in the map; empty without one."""
    return digest(page) if page else ""


def page_entries(table: RouteTable) -> dict[str, str]:
    """The map of apps' own pages, by what they are called. The request's id is in a comment."""
    pages = {page for app in table.apps for page in (app.error_page, app.maintenance_page) if page}
    entries: dict[str, str] = {}
    for page in pages:
        text = f"{page} <!-- request "
        # A command whose last word begins with `<<` would wait for more lines.
        encoded = quote(text[0], safe="") + quote(text[1:], safe=PAGE_SAFE)
        entries[f"{page_key(page)}:before:"] = encoded
        entries[f"{page_key(page)}:after:"] = quote(" -->", safe=PAGE_SAFE)
    return entries


MAPS: Mapping[str, Callable[[RouteTable, Places], dict[str, str]]] = {
    "pages": lambda table, places: page_entries(table),
    "challenges": lambda table, places: challenge_entries(table),
    "apps": lambda table, places: app_entries(table, places),
    "hosts": lambda table, places: host_entries(table),
}
"""The maps that change while HAProxy runs, each before those that lead to it."""


def default_pages(side: str) -> dict[str, str]:
    """The map of the router's own pages, before or after the request's id."""
    entries: dict[str, str] = {}
    for key, page in halves().items():
        form, name = key.split(":")
        key = f":{name}:" if name in PAGE_FIELDS and form == "html" else key
        entries[key] = str(getattr(page, side))
    return entries


def text_of(entries: Mapping[str, str]) -> str:
    """A map file: one key and its value a line."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def digest(text: str) -> str:
    """A short name for a content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
