"""Owns what HAProxy answers itself: the pages as it is told them, and when it sends which.

Lines of haproxy.cfg, for `render`. Each such answer says what it is in a header that no client
sees and no app can send (`x-oriel-own`); the reader of the router's lines makes a code of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oriel.router.maps import PAGE_FIELDS
from oriel.router.settings import Settings, ms

_OWN = "x-oriel-own"

_REFUSALS: tuple[tuple[str, int, str, str], ...] = (
    # mode, status, code, page
    ("maintenance", 503, "H80", "maintenance"),
    ("blank", 502, "H81", "blank"),
    ("crashed", 503, "H10", "error"),
    ("none", 503, "H14", "error"),
    ("booting", 503, "H20", "booting"),
    ("idle", 503, "H20", "booting"),
    ("left", 499, "H27", "error"),
)

_OWN_STATUSES = (400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429)
_OWN_FAILURES = (500, 501, 502, 503, 504)
_HEADERS_BYTES = 20_000
"""What an answer's head may have; over it (and under HAProxy's buffer) it is H25."""


def page(paths: Mapping[str, Path], name: str, own: str) -> str:
    """A page around the request's id, or the app's own one; `own` is what the reader is told."""
    form = f"var(txn.form,html),concat(:{name})"
    sides = []
    for side in ("before", "after"):
        parts = [f"%[{form},map_str({paths[side]})]"]
        if name in PAGE_FIELDS:
            # DIGEST:SIDE: is the app's own page in HTML, :PAGE: the router's; JSON has neither.
            digest = f"var(txn.route),field({PAGE_FIELDS[name]},|)"
            own_page = f"%[{digest},concat(:{side}:,txn.form),map_str({paths['pages']}),url_dec]"
            parts += [own_page, f"%[{digest},concat(:{name}:,txn.form),map_str({paths[side]})]"]
        sides.append("".join(parts))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src * data:"
    return (
        ' content-type "text/html; charset=utf-8"'
        f' lf-string "{sides[0]}%[var(txn.id)]{sides[1]}"'
        f" hdr {_OWN} {own} hdr cache-control no-store hdr x-content-type-options nosniff"
        f' hdr content-security-policy "{policy}"'
    )


def errors(paths: Mapping[str, Path]) -> list[str]:
    """The pages of HAProxy's own errors."""
    return [
        f"  http-error status {status}{page(paths, 'error', str(status))}"
        for status in _OWN_FAILURES + _OWN_STATUSES
    ]


def checked(paths: Mapping[str, Path]) -> list[str]:
    """In the backends of dynos: no dyno can say what only the router says, or too much."""
    return [
        f"  http-response del-header {_OWN}",
        f"  http-response return status 502{page(paths, 'error', 'H25')}"
        f" if {{ res.hdrs,length gt {_HEADERS_BYTES} }}",
        '  http-response add-header Via "1.1 oriel-router"',
    ]


def marked(settings: Settings) -> list[str]:
    """HAProxy's own answers carry x-oriel-own, which an app cannot send."""
    idle = ms(settings.idle_timeout_s)
    own = "{ var(txn.own) -m found }"
    rule = "http-after-response"
    return [
        *([f"  http-response set-timeout server {idle}"] if settings.rolling else []),
        # A dyno's answer, whose client need not come back to it.
        f"  {rule} allow if !{{ res.fhdr({_OWN}) -m found }} !{{ var(txn.sticky) -m found }}",
        f"  {rule} set-var(txn.own) res.hdr({_OWN})",
        f"  {rule} del-header {_OWN} if {own}",
        f"  {rule} set-header Content-Type application/json if {own}"
        " { var(txn.form) -m str json }",
        # An app's own page may hold what it likes.
        f"  {rule} del-header content-security-policy if {own} {{ var(txn.route),field(4,|),"
        f"length gt 0 }} or {own} {{ var(txn.route),field(5,|),length gt 0 }}",
        f"  {rule} set-status 503 if {{ var(txn.own) -m int 500:599 }}",
        # No dyno is left: how often was it tried, and is there only one that it can have been?
        f"  {rule} set-var-fmt(txn.own) '503:%rc:%[var(txn.route),field(6,|)]'"
        " if { var(txn.own) -m str 503 } !{ srv_name -m found }",
    ]


def nowhere(settings: Settings, paths: Mapping[str, Path]) -> str:
    """The apps that no dyno serves, what is answered at the edge, and the hosts of no app."""
    lines = ["", "backend nowhere from all", *_edge_answers(settings, paths)]
    for mode, status, code, name in _REFUSALS:
        lines.append(
            f"  http-request return status {status}{page(paths, name, code)}"
            f" if {{ var(txn.route) -m sub |{mode}| }}"
        )
    lines += [
        "  http-request set-log-level silent",
        f"  http-request return status 404{page(paths, 'unknown', '404')}",
    ]
    return "\n".join(lines) + "\n"


def _edge_answers(settings: Settings, paths: Mapping[str, Path]) -> list[str]:
    """Challenges and redirects. 308, unlike 301, makes a client repeat a POST as one."""
    port = settings.web_tls[0].port if settings.web_tls else 443
    place = "" if port == 443 else f":{port}"
    location = f"hdr Location 'https://%[var(txn.host)]{place}%[pathq]'"
    answer = f"var(txn.challenge),map_str({paths['challenges']})"
    challenge = "if { var(txn.route) -m sub |acme| }"
    edge = "if { var(txn.route) -m sub |https| }"
    return [
        f"  http-request set-var-fmt(txn.challenge) '%[var(txn.host)]%[path]' {challenge}",
        "  http-request return status 200 content-type text/plain"
        f' lf-string "%[{answer}]" {challenge} {{ {answer} -m found }}',
        "  http-request return status 404 content-type text/plain"
        f' string "No such challenge." {challenge}',
        f"  http-request return status 301 {location} {edge} {{ method GET HEAD }}",
        f"  http-request return status 308 {location} {edge}",
    ]
