"""Owns `domains` and what belongs to it: the host names at which an app answers."""

from __future__ import annotations

import time
from typing import Any

import click

from oriel.cli import outcome, render, session, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below
from oriel.client.refusal import Refusal

WAIT_PAUSE_S = 2.0


@click.command(epilog=example("oriel domains", "oriel domains --json"))
@with_app
@with_json
def domains(app: str | None, remote: str | None, as_json: bool) -> None:
    """List the domains of an app, and the DNS record that each of them needs."""
    name = session.app(app, remote)
    found = _all(session.client(), name)
    if as_json:
        render.emit_json(found)
        return
    own = [each for each in found if each["kind"] == "heroku"]
    custom = [each for each in found if each["kind"] == "custom"]
    print(f"=== {name} Domain")
    for each in own:
        print(terminal.shown(each["hostname"]))
    if not custom:
        return
    print(f"\n=== {name} Custom Domains")
    columns = (
        render.Column("Domain Name", 24, 24, most=255, least=24),
        render.Column("DNS Record Type", 15, 15, most=20),
        render.Column("DNS Target", 24, 24, most=255, least=24),
        render.Column("Certificate", 20, 20, most=120, least=20),
    )
    render.emit(
        render.table(
            columns,
            [
                (_shown(each), _record(each["hostname"]), each["cname"], _tls(each))
                for each in custom
            ],
        )
    )


@click.command(
    epilog=example(
        "oriel domains:add www.example.com",
        "oriel domains:add '*.example.com'",
        "oriel domains:add www.example.com --cert strong-fire-938",
    )
)
@click.argument("hostname")
@click.option("--cert", metavar="NAME", help="Serve it with this certificate of the app.")
@with_app
@with_json
def add(
    hostname: str, cert: str | None, app: str | None, remote: str | None, as_json: bool
) -> None:
    """Have a host name lead to an app.

    Point its DNS at the target that is shown. *.example.com is for every host below example.com
    (up to four levels) that is nobody's own; accents and other scripts may be typed as they are.
    """
    name = session.app(app, remote)
    client = session.client()
    body = {"hostname": hostname, "sni_endpoint": cert}
    if as_json:
        render.emit_json(client.post(below("apps", name, "domains"), body).data)
        return
    made = outcome.step(
        f"Adding {terminal.shown(hostname)} to {name}",
        lambda: client.post(below("apps", name, "domains"), body).data,
    )
    outcome.done(made["hostname"] if made["hostname"] != hostname else "")
    terminal.note(
        f"       DNS: make a {_record(made['hostname'])} record for {_shown(made)} "
        f"that leads to {made['cname']}"
    )


@click.command(epilog=example("oriel domains:remove www.example.com"))
@click.argument("hostname")
@with_app
def remove(hostname: str, app: str | None, remote: str | None) -> None:
    """Have a host name lead to an app no longer; its automatic certificate goes too."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Removing {terminal.shown(hostname)} from {name}",
        lambda: client.delete(below("apps", name, "domains", hostname)),
    )
    outcome.done()


@click.command(epilog=example("oriel domains:clear"))
@with_app
def clear(app: str | None, remote: str | None) -> None:
    """Remove all domains of an app but its own host."""
    name = session.app(app, remote)
    client = session.client()
    path = below("oriel", "apps", name, "domains", "actions", "clear")
    gone = outcome.step(f"Removing all domains from {name}", lambda: client.post(path).data)
    outcome.done(f"{len(gone)} removed")


@click.command(epilog=example("oriel domains:info www.example.com"))
@click.argument("hostname")
@with_app
@with_json
def info(hostname: str, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show a domain: its DNS record, its certificate, how that is kept."""
    name = session.app(app, remote)
    found = session.client().get(below("apps", name, "domains", hostname)).data
    if as_json:
        render.emit_json(found)
        return
    print(f"=== {_shown(found)}")
    facts = [("App", name), ("Host", found["hostname"])]
    if found["cname"]:
        facts.append(("DNS", f"{_record(found['hostname'])} {found['cname']}"))
    facts.append(("Certificate", _tls(found)))
    if found["acm_status"]:
        facts.append(("Automatic", found["acm_status"]))
    if found["acm_status_reason"]:
        facts.append(("Reason", found["acm_status_reason"]))
        facts.append(("Next try", str((found.get("oriel") or {}).get("next_try") or "never")))
    render.emit(render.fields(facts))


@click.command(epilog=example("oriel domains:update www.example.com --cert strong-fire-938"))
@click.argument("hostname")
@click.option(
    "--cert", required=True, metavar="NAME", help="The certificate; '' for whichever fits best."
)
@with_app
def update(hostname: str, cert: str, app: str | None, remote: str | None) -> None:
    """Choose the certificate that a domain is served with."""
    name = session.app(app, remote)
    client = session.client()
    made = outcome.step(
        f"Updating {terminal.shown(hostname)} to use {cert or 'whichever certificate fits'}",
        lambda: (
            client.patch(
                below("apps", name, "domains", hostname), {"sni_endpoint": cert or None}
            ).data
        ),
    )
    outcome.done(_tls(made))


@click.command(epilog=example("oriel domains:wait", "oriel domains:wait www.example.com"))
@click.argument("hostname", required=False)
@with_app
def wait(hostname: str | None, app: str | None, remote: str | None) -> None:
    """Wait until each domain, or one, has its automatic certificate. Ctrl-C ends the waiting.

    Domains lead to the app at once; where automatic certificates are off there is nothing to wait
    for. Ends with an error when one has failed for good.
    """
    name = session.app(app, remote)
    client = session.client()
    said = False
    while True:
        found = [each for each in _all(client, name) if _meant(each, hostname)]
        if hostname and not found:
            raise Refusal("Couldn't find that domain.", id="not_found", hint="oriel domains")
        failed = [each for each in found if each["acm_status"] == "failed"]
        if failed:
            reason = failed[0]["acm_status_reason"] or "no reason given"
            raise Refusal(f"No certificate for {failed[0]['hostname']}: {reason}", id="conflict")
        left = [each for each in found if each["acm_status"] not in (None, "cert issued")]
        if not left:
            print("All domains are ready.")
            return
        if not said:
            terminal.note(f"waiting for {', '.join(each['hostname'] for each in left[:5])}")
            said = True
        time.sleep(WAIT_PAUSE_S)


def _all(client: Any, app: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.listing(
        below("apps", app, "domains"), range="hostname ..; max=1000"
    )
    return found


def _meant(it: dict[str, Any], hostname: str | None) -> bool:
    if it["kind"] != "custom":
        return False
    own = (it.get("oriel") or {}).get("name")
    return hostname is None or hostname.lower() in (it["hostname"], own, it["id"])


def _shown(it: dict[str, Any]) -> str:
    """Both forms of a name, where it has two."""
    own = str((it.get("oriel") or {}).get("name") or it["hostname"])
    both = own if own == it["hostname"] else f"{own} ({it['hostname']})"
    return terminal.shown(both)


def _record(hostname: str) -> str:
    """A name of two parts is most likely a zone's own, which no CNAME may be for."""
    is_zone = hostname.count(".") == 1
    return "ALIAS or ANAME" if is_zone else "CNAME"


def _tls(it: dict[str, Any]) -> str:
    if it["sni_endpoint"]:
        return terminal.shown(it["sni_endpoint"]["name"])
    if it["acm_status"] in ("failed", "failing"):
        return f"{it['acm_status']}: {terminal.shown(it['acm_status_reason'] or '')}"
    return it["acm_status"] or "none"
