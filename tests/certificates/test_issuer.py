"""The conversation with a real authority (pebble): every end of it as a value."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from oriel.certificates import Issuer, read
from oriel.certificates.issuer import Issued, new_key
from oriel.certificates.machine import Refused, Told, Undecided
from oriel.clock import SystemClock

from .real_pebble import pebble

pytestmark = pytest.mark.real


@contextmanager
def answering() -> Iterator[tuple[int, dict[str, str]]]:
    """A host that answers challenges."""
    answers: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path.rpartition("/")[2], "no").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], answers
    finally:
        server.shutdown()
        server.server_close()


async def end(issuer: Issuer, url: str, host: str, key: str) -> Issued | Refused:
    for _ in range(100):
        seen = await issuer.look(url, host, key)
        if not isinstance(seen, Undecided):
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError("never decided")


def test_orders_side_by_side_and_what_can_go_wrong(tmp_path: Path) -> None:
    async def story(port: int, answers: dict[str, str]) -> None:
        with pebble(tmp_path, port) as authority:
            account = new_key()
            issuer = Issuer(authority.directory, account, str(authority.ca))

            async def one(host: str) -> None:
                key = new_key()
                begun = await issuer.begin(host, key)
                assert not isinstance(begun, Refused), begun
                event, challenge = begun
                assert challenge is not None
                answers[challenge.token] = challenge.answer
                assert await issuer.tell(event.url) == Told()
                # The same again does no harm, also from another process.
                other = Issuer(authority.directory, account, str(authority.ca))
                assert await other.tell(event.url) == Told()
                issued = await end(other, event.url, host, key)
                assert isinstance(issued, Issued), issued
                loaded = read(issued.chain, key, SystemClock().wall())
                assert loaded.names == (host,)
                assert isinstance(await end(issuer, event.url, host, key), Issued)

            await asyncio.gather(*[one(f"h{n}.example.com") for n in range(6)])
            lost = await issuer.look(authority.directory.replace("dir", "my-order/none"), "x", "k")
            assert isinstance(lost, Refused)
            assert lost.lost
            # Nobody answers for this one.
            begun = await issuer.begin("quiet.example.com", key := new_key())
            assert not isinstance(begun, Refused)
            await issuer.tell(begun[0].url)
            refused = await end(issuer, begun[0].url, "quiet.example.com", key)
            assert isinstance(refused, Refused)
            assert refused.reason.isprintable()
            assert not refused.away
            for directory, ca, word in (
                (authority.directory, None, "is not trusted"),
                ("https://127.0.0.1:1/dir", None, "cannot be reached"),
                (authority.directory.replace("/dir", "/none"), str(authority.ca), "answers 404"),
            ):
                said = await Issuer(directory, account, ca).begin("a.example.com", new_key())
                assert isinstance(said, Refused)
                assert word in said.reason
                assert account.splitlines()[1] not in said.reason

    with answering() as (port, answers):
        asyncio.run(story(port, answers))


def test_how_long_an_authority_wants_to_be_left_alone() -> None:
    issuer = Issuer("https://a.example/dir", "")
    date = "Sun, 01 Mar 2026 12:00:00 GMT"
    for said, wait in (
        (("120", ""), timedelta(minutes=2)),
        (("Sun, 01 Mar 2026 12:05:00 GMT", date), timedelta(minutes=5)),
        (("Sun, 01 Mar 2026 11:00:00 GMT", date), timedelta()),
        (("", date), None),
        (("soon", date), None),
        (("Sun, 01 Mar 2026 12:05:00 GMT", ""), None),
        (("9" * 500, ""), timedelta(seconds=999_999_999)),
    ):
        issuer._retry_after = said
        assert issuer._wait() == wait
