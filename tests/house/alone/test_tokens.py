"""Credentials, as typed: who has one writes by the tokens in the frames, until it is taken back."""

from __future__ import annotations

import base64
import http.client
from contextlib import closing

from oriel.cli import exits
from tests.house.alone.conftest import OPTIONS, STAMP, Router, Say, door


def _post(port: int, credential: str, token: str) -> int:
    frame = f"<190>1 {STAMP} host {token} web.1 - - hello".encode()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        basic = base64.b64encode(credential.encode()).decode()
        headers = {"Content-Type": "application/logplex-1", "Authorization": f"Basic {basic}"}
        connection.request("POST", "/logs", b"%d %b" % (len(frame), frame), headers)
        return connection.getresponse().status


def test_a_credential_writes_by_the_frames_tokens(router: Router, say: Say) -> None:
    router.start(*OPTIONS)
    say("logplex:create", "shop")
    token = say("logplex:tokens-add", "shop", "app").strip()
    credential = say("logplex:credentials-add").strip()
    user, _, password = credential.partition(":")
    assert say("logplex:credentials") == f"{user}  any channel\n"
    port = door(say, "http")
    assert _post(port, credential, token) == 204
    assert _post(port, f"{user}:wrong", token) == 401
    assert say("logplex:logs", "shop").endswith(" app[web.1]: hello\n")
    assert say("logplex:credentials-remove", user) == "Credential removed.\n"
    assert _post(port, credential, token) == 401
    assert "no such credential" in say(
        "logplex:credentials-remove", user, code=exits.code_of("not_found")
    )
    assert password not in say("logplex:credentials", "--json")
