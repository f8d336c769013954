"""Releases without a failed request: the new web dynos come before the old ones go."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from tests.story.platform import AppCopy, User, eventually, tree

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SERVER = """
import http.server, os, signal, sys, threading, time
if {is_broken!r}:
    sys.exit(3)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_well = self.path != "/health" or time.monotonic() - began > {warms_up_s!r}
        self.send_response(200 if is_well else 503)
        self.end_headers()
        self.wfile.write(("{version} " + os.environ.get("GREETING", "")).encode())
    def log_message(self, *args):
        pass
began = time.monotonic()
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler)
server.daemon_threads = False
# As a real server does: what was accepted is answered before it ends.
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""


def graceful(version: str, *, is_broken: bool = False, warms_up_s: float = 0.0) -> dict[str, str]:
    text = SERVER.format(version=version, is_broken=is_broken, warms_up_s=warms_up_s)
    return {**tree(version), "server.py": text}


class Visitors:
    """Requests one after the other, from a few at once, until told to stop."""

    def __init__(self, app: AppCopy, count: int = 3) -> None:
        self.app = app
        self.seen = Counter[str]()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(count)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self._done.is_set():
            try:
                status, body = self.app.get()
                self.seen[body.split()[0] if status == 200 else f"{status}"] += 1
            except OSError as error:
                self.seen[repr(error)] += 1
            self._done.wait(0.005)

    def met(self, *versions: str) -> None:
        """They met these, and no error."""
        assert set(self.seen) == set(versions), self.seen


def test_no_request_fails_while_releases_change(rick: User) -> None:
    app = rick.app("preboot")
    app.commit(graceful("one"))
    app.push()
    app.oriel("ps:scale", "web=2", "worker=1")
    app.settles("up", "web.1", "web.2", "worker.1")
    assert "done" in app.oriel("features:enable", "preboot").out
    app.oriel("checks:set", "--path", "/health")
    with Visitors(app) as visitors:
        app.commit(graceful("two", warms_up_s=1.0))
        push = app.push()
        assert "Booting web of v3 beside v2..." in push.err
        assert "Launching... done, v3" in push.err
        app.oriel("config:set", "GREETING=hello")
        app.oriel("rollback", "v2")
        app.answers("one")
    visitors.met("one", "two")
    app.settles("up", "web.1", "web.2", "worker.1")
    assert {dyno["release"]["version"] for dyno in app.json("ps")} == {5}


def test_one_that_does_not_come_up_is_refused_and_nothing_changes(rick: User) -> None:
    app = rick.app("preboot-broken")
    app.commit(graceful("one"))
    app.push()
    app.oriel("features:enable", "preboot")
    app.answers("one")
    with Visitors(app) as visitors:
        app.commit(graceful("two", is_broken=True))
        push = app.push(check=False)
        assert push.code != 0
        assert "Release v3 failed: preboot failed: web.1 exited with status 3" in push.err
        assert "The app goes on with v2" in push.err
    visitors.met("one")
    app.settles("up", "web.1")
    listed = {each["version"]: each["status"] for each in app.json("releases")}
    assert (listed[3], listed[2]) == ("failed", "succeeded")
    assert [dyno["release"]["version"] for dyno in app.json("ps")] == [2]
    assert any("Preboot of v3 failed by " in line for line in app.logs("--ps", "api"))


def test_while_both_are_there_ps_shows_them_with_their_release(rick: User) -> None:
    app = rick.app("preboot-both")
    app.commit(graceful("one"))
    app.push()
    app.oriel("features:enable", "preboot")
    app.oriel("checks:set", "--path", "/health", "--boot-timeout", "5s")
    app.answers("one")
    app.commit(graceful("two", warms_up_s=1000.0))
    push = app.begin_push()

    def both() -> str:
        shown = app.oriel("ps").out
        return shown if shown.count("web.1") == 2 else ""

    shown = str(eventually(both, within_s=40))
    rows = [line.split() for line in shown.splitlines()[2:]]
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("web.1", "up", "v2"),
        ("web.1", "starting", "v3"),
    ]
    out, _ = push.communicate(timeout=60)
    assert "did not answer GET /health well within 5 s (R10)" in out
    app.answers("one")
    # A release that comes to nothing is in nobody's way: the mend supersedes it at once.
    app.oriel("checks:set", "--boot-timeout", "60s")
    app.commit(graceful("three", warms_up_s=1001.0))
    push = app.begin_push()
    eventually(lambda: app.oriel("ps").out.count("web.1") == 2, within_s=40, what="both are there")
    app.commit(graceful("four"))
    begun_s = time.monotonic()
    app.push()
    assert time.monotonic() - begun_s < 30
    out, _ = push.communicate(timeout=60)
    assert push.returncode != 0
    assert "Release v4 failed: superseded by a newer push before its web dynos were up" in out
    app.answers("four")
    app.settles("up", "web.1")
    assert [dyno["release"]["version"] for dyno in app.json("ps")] == [5]
