"""Log drains by the official program: contract section 2.6."""

from __future__ import annotations

import re

from .heroku import Heroku
from .place import Place

URL = "https://user:topsecret@logs.invalid/in?format=json"
SHOWN = "https://user:****@logs.invalid/in?format=json"
OTHER = "syslog+tls://logs.invalid:6514"


def test_drains(heroku: Heroku, oriel: Place) -> None:
    oriel.app("drained")
    added = heroku("drains:add", URL, "-a", "drained")
    assert f"Successfully added drain {SHOWN}" in added.out + added.err
    heroku("drains:add", OTHER, "-a", "drained")
    listed = heroku("drains", "-a", "drained").out
    assert "=== Drains" in listed
    assert re.search(rf"^{re.escape(SHOWN)} \(d\.[0-9a-f-]{{36}}\)$", listed, re.MULTILINE), listed
    assert "topsecret" not in listed
    rows = heroku("drains", "--json", "-a", "drained").json
    assert [each["url"] for each in rows] == [SHOWN, OTHER]
    twice = heroku("drains:add", OTHER, "-a", "drained", check=False)
    assert twice.code != 0
    assert "already" in twice.err
    removed = heroku("drains:remove", URL, "-a", "drained")
    assert f"Successfully removed drain {SHOWN}" in removed.out + removed.err
    gone = heroku("drains:remove", rows[1]["token"], "-a", "drained")
    assert f"Successfully removed drain {OTHER}" in gone.out + gone.err
    assert oriel.ask("GET", "/apps/drained/log-drains") == []
    wrong = heroku("drains:add", "ftp://a.example", "-a", "drained", check=False)
    assert "scheme" in wrong.err
