"""Owns `certs` and `certs:auto`: what an app is served with over TLS."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from oriel.cli import ages, outcome, render, session, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below
from oriel.client.refusal import Refusal

WAIT_PAUSE_S = 2.0
FILE_BYTES_MAX = 100_000

_FILES = (
    click.argument("crt", type=click.Path(path_type=Path, dir_okay=False)),
    click.argument("key", type=click.Path(path_type=Path, dir_okay=False)),
)


@click.command(epilog=example("oriel certs", "oriel certs --json"))
@with_app
@with_json
def certs(app: str | None, remote: str | None, as_json: bool) -> None:
    """List the certificates of an app."""
    name = session.app(app, remote)
    client = session.client()
    found = client.get(below("apps", name, "sni-endpoints")).data
    if as_json:
        render.emit_json(found)
        return
    if not found:
        print(f"{name} has no certificates.\nAdd one with: oriel certs:add CRT KEY")
        return
    columns = (
        render.Column("Name", 20, 20, most=40),
        render.Column("Common Name(s)", 30, 30, most=200, least=24),
        render.Column("Expires", 20, 20, most=30),
        render.Column("Trusted", 7, 7),
        render.Column("Type", 9, 9),
        render.Column("Domains", 7, 7, most=10),
    )
    rows = [
        (
            each["name"],
            ", ".join(each["ssl_cert"]["cert_domains"]),
            each["ssl_cert"]["expires_at"],
            "yes" if each["ssl_cert"]["ca_signed?"] else "no",
            "automatic" if each["ssl_cert"]["acm"] else "own",
            str(len(each["domains"])),
        )
        for each in found
    ]
    render.emit(render.table(columns, rows))
    for each in found:
        _warn(each, f"{each['name']}: ")


@click.command(epilog=example("oriel certs:add server.crt server.key"))
@_FILES[0]
@_FILES[1]
@with_app
def add(crt: Path, key: Path, app: str | None, remote: str | None) -> None:
    """Serve an app's domains with a certificate: the chain in CRT, its private key in KEY (PEM).

    It serves each domain of the app that it is for. The key is sealed where it is kept, and nobody
    gets it back.
    """
    name = session.app(app, remote)
    body = _pair(crt, key)
    client = session.client()
    made = outcome.step(
        f"Adding certificate to {name}",
        lambda: client.post(below("apps", name, "sni-endpoints"), body).data,
    )
    _done(made, client.now)


@click.command(
    epilog=example(
        "oriel certs:update server.crt server.key",
        "oriel certs:update server.crt server.key --name strong-fire-938",
    )
)
@_FILES[0]
@_FILES[1]
@click.option("--name", "cert", metavar="NAME", help="Which one, where there are several.")
@with_app
def update(crt: Path, key: Path, cert: str | None, app: str | None, remote: str | None) -> None:
    """Put another certificate in the place of one. No connection is dropped."""
    name = session.app(app, remote)
    body = _pair(crt, key)
    client = session.client()
    chosen = _chosen(client, name, cert, own=True)["name"]
    made = outcome.step(
        f"Updating certificate {chosen} of {name}",
        lambda: client.patch(below("apps", name, "sni-endpoints", chosen), body).data,
    )
    _done(made, client.now)


@click.command(epilog=example("oriel certs:remove --name strong-fire-938"))
@click.option("--name", "cert", metavar="NAME", help="Which one, where there are several.")
@with_app
def remove(cert: str | None, app: str | None, remote: str | None) -> None:
    """Serve with a certificate no longer, and delete its key."""
    name = session.app(app, remote)
    client = session.client()
    chosen = _chosen(client, name, cert)["name"]
    outcome.step(
        f"Removing certificate {chosen} from {name}",
        lambda: client.delete(below("apps", name, "sni-endpoints", chosen)),
    )
    outcome.done()


@click.command(epilog=example("oriel certs:info", "oriel certs:info --name strong-fire-938"))
@click.option("--name", "cert", metavar="NAME", help="Which one, where there are several.")
@with_app
@with_json
def info(cert: str | None, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show a certificate: whom it is for, until when, what is served with it."""
    name = session.app(app, remote)
    client = session.client()
    found = _chosen(client, name, cert)
    if as_json:
        render.emit_json(found)
        return
    print(f"=== {terminal.shown(found['name'])}")
    render.emit(render.fields(_facts(found, client.now)))
    _warn(found)


@click.command(epilog=example("oriel certs:auto", "oriel certs:auto --wait"))
@click.option("--wait", is_flag=True, help="Wait until every domain has its certificate.")
@with_app
@with_json
def auto(wait: bool, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show how far the automatic certificates of an app are."""
    name = session.app(app, remote)
    client = session.client()
    is_on = bool(client.get(below("apps", name)).data["acm"])
    if wait and is_on:
        _wait(client, name)
    found = _custom(client, name)
    if as_json:
        render.emit_json({"enabled": is_on, "domains": found})
        return
    print(f"=== Automatic certificates are {'enabled' if is_on else 'disabled'} on {name}")
    if not is_on or not found:
        if is_on:
            print("Add a domain with: oriel domains:add www.example.com")
        return
    columns = (
        render.Column("Domain", 24, 24, most=255, least=24),
        render.Column("Status", 12, 12, most=20),
        render.Column("Since", 14, 14, most=30),
        render.Column("Reason", 20, 20, most=400, least=20),
    )
    rows = [
        (
            each["hostname"],
            each["acm_status"] or "",
            ages.ago(ages.parse(each["updated_at"]), client.now),
            each["acm_status_reason"] or "",
        )
        for each in found
    ]
    render.emit(render.table(columns, rows))


@click.command(epilog=example("oriel certs:auto:enable", "oriel certs:auto:enable --wait"))
@click.option("--wait", is_flag=True, help="Wait until every domain has its certificate.")
@with_app
def enable(wait: bool, app: str | None, remote: str | None) -> None:
    """Have a certificate for each domain, got and renewed by itself (ACME, HTTP-01).

    They come from Let's Encrypt, unless the server was told of another authority; by this you
    agree to its terms of service. Each domain's DNS has to lead here, and port 80 has to be
    reached from outside.
    """
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Enabling automatic certificates on {name}",
        lambda: client.post(below("apps", name, "acm"), {}),
    )
    outcome.done()
    if wait:
        _wait(client, name)
        print("Every domain has its certificate.")


@click.command(epilog=example("oriel certs:auto:disable"))
@with_app
def disable(app: str | None, remote: str | None) -> None:
    """Have them no longer: automatic certificates go at once, your own stay."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Disabling automatic certificates on {name}",
        lambda: client.delete(below("apps", name, "acm")),
    )
    outcome.done()


@click.command(epilog=example("oriel certs:auto:refresh"))
@with_app
def refresh(app: str | None, remote: str | None) -> None:
    """Try again those that failed: now, or half an hour after a third failure in a row."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Refreshing automatic certificates on {name}",
        lambda: client.patch(below("apps", name, "acm"), {"acm_refresh": True}),
    )
    outcome.done()


def _wait(client: Any, app: str) -> None:
    """Until every domain has its certificate; raises Refusal when one failed."""
    said = False
    while True:
        found = _custom(client, app)
        failed = [each for each in found if each["acm_status"] == "failed"]
        if failed:
            reason = failed[0]["acm_status_reason"] or "no reason given"
            raise Refusal(f"No certificate for {failed[0]['hostname']}: {reason}", id="conflict")
        left = [each["hostname"] for each in found if each["acm_status"] != "cert issued"]
        if not left:
            return
        if not said:
            terminal.note(f"waiting for {', '.join(left[:5])}; Ctrl-C ends the waiting")
            said = True
        time.sleep(WAIT_PAUSE_S)


def _custom(client: Any, app: str) -> list[dict[str, Any]]:
    found = client.listing(below("apps", app, "domains"), range="hostname ..; max=1000")
    return [each for each in found if each["kind"] == "custom"]


def _chosen(client: Any, app: str, cert: str | None, *, own: bool = False) -> dict[str, Any]:
    if cert:
        found: dict[str, Any] = client.get(below("apps", app, "sni-endpoints", cert)).data
        return found
    there: list[dict[str, Any]] = client.get(below("apps", app, "sni-endpoints")).data
    there = [each for each in there if not (own and each["ssl_cert"]["acm"])]
    if len(there) == 1:
        return there[0]
    if not there:
        raise Refusal(
            f"{app} has no certificates.", id="not_found", hint="Add one: oriel certs:add CRT KEY"
        )
    raise Refusal(
        f"{app} has {len(there)} certificates.",
        id="invalid_params",
        hint="Say which one with --name: oriel certs",
    )


def _pair(crt: Path, key: Path) -> dict[str, str]:
    return {"certificate_chain": _text(crt), "private_key": _text(key)}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Refusal(f"{path} is no PEM file: it is too large.", id="invalid_params")
        return path.read_text("ascii")
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.", id="invalid_params") from None
    except UnicodeDecodeError:
        raise Refusal(
            f"{path} is no PEM file.",
            id="invalid_params",
            hint="Convert it: openssl x509 -inform der -in FILE -out FILE.pem",
        ) from None


def _done(made: dict[str, Any], now: datetime) -> None:
    outcome.done(made["name"])
    render.emit(render.fields(_facts(made, now)))
    _warn(made)


def _warn(it: dict[str, Any], head: str = "") -> None:
    for warning in (it.get("oriel") or {}).get("warnings") or ():
        terminal.complain(f"Warning: {head}{warning}")


def _facts(it: dict[str, Any], now: datetime) -> list[tuple[str, str]]:
    cert = it["ssl_cert"]
    hosts = (it.get("oriel") or {}).get("hostnames") or []
    return [
        ("For", ", ".join(cert["cert_domains"]) or "no host"),
        ("Serves", ", ".join(hosts) or "no domain of this app"),
        ("Expires", cert["expires_at"]),
        ("Starts", cert["starts_at"]),
        ("Issuer", cert["issuer"]),
        ("Subject", cert["subject"]),
        ("Trusted", _trust(cert)),
        ("Kept", "by itself" if cert["acm"] else "by you"),
        ("Updated", ages.ago(ages.parse(it["updated_at"]), now)),
    ]


def _trust(cert: dict[str, Any]) -> str:
    if cert["ca_signed?"]:
        return "by the usual authorities"
    return "no: it is self-signed" if cert["self_signed?"] else "no: its authority is not known"
