"""Owns the server's own commands, `oriel up`, `oriel down` and `oriel doctor`, as typed.

Must not do what they do. The command line finds them by name, and only when they are called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from oriel import faults
from oriel.cli.options import example
from oriel.clock import SystemClock
from oriel.house import doctor as doctors
from oriel.house import ports, probes, settings, typed
from oriel.house import up as ups
from oriel.house.findings import Finding
from oriel.house.layout import Layout, default_data
from oriel.house.settings import Flags
from oriel.lexicon import Address

MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}

_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ORIEL_DATA",
    help="The data directory.",
)


@click.command(
    epilog=example(
        "oriel up",
        "oriel up --data /srv/oriel --web 0.0.0.0:80 --domain apps.example.com",
        "oriel up --web 0.0.0.0:80 --web-tls 0.0.0.0:443",
        "oriel up --api [::1]:5050 --web [::1]:8080",
    )
)
@_data_option
@click.option("--api", metavar="HOST:PORT", help="Where the API and git listen.")
@click.option("--web", metavar="HOST:PORT", help="Where apps answer.")
@click.option(
    "--rendezvous",
    metavar="HOST:PORT",
    help="Where oriel run and heroku run attach, over TLS; port 0 is a free one.",
)
@click.option("--domain", metavar="NAME", help="Apps are at APP.NAME; '' for APP.localhost.")
@click.option(
    "--database",
    metavar="URL",
    envvar="ORIEL_DATABASE_URL",
    help="PostgreSQL instead of SQLite. A password is better given in ORIEL_DATABASE_URL.",
)
@click.option("--key-file", metavar="FILE", help="The master key, elsewhere than in the data.")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain (PEM) of the API.")
@click.option("--tls-key", metavar="FILE", help="Its private key.")
@click.option(
    "--tls",
    type=click.Choice(["off", "authority"]),
    help="authority: TLS for the API with a certificate by Oriel's own authority.",
)
@click.option(
    "--web-tls",
    metavar="HOST:PORT",
    help="Where apps answer with TLS; '' for nowhere (as at first).",
)
@click.option(
    "--acme-directory",
    metavar="URL",
    help="Where automatic certificates come from; '' for Let's Encrypt.",
)
@click.option(
    "--acme-ca", metavar="FILE", help="Roots by which that place is known; '' for the usual ones."
)
@click.option(
    "--allow-egress",
    metavar="NETWORK",
    multiple=True,
    help="Drains may connect there, though it is this machine; '' for nowhere. May be repeated.",
)
@click.option(
    "--isolation",
    type=click.Choice([settings.ISOLATION, settings.NO_ISOLATION]),
    help="none: apps may do whatever their user may; for development only.",
)
@click.option(
    "--spares",
    metavar="N",
    help="So many dynos have a sandbox ready for when they crash; auto: by the memory, up to 64.",
)
@click.option(
    "--trust-proxy",
    metavar="NETWORK",
    multiple=True,
    help="Proxies there, in front of --web, say how visitors came; '' for none. May be repeated.",
)
@click.option("--insecure-http", is_flag=True, help="Allow the API beyond loopback without TLS.")
def up(data: Path | None, **flags: Any) -> int:
    """Start the platform in the foreground.

    A data directory remembers what it was started with; a flag that is not given stays as it was.
    """
    return ups.up(_data(data), Flags(**flags), _surroundings())


@click.command(epilog=example("oriel down", "oriel down --dynos"))
@_data_option
@click.option("--dynos", is_flag=True, help="Stop the dynos too.")
def down(data: Path | None, dynos: bool) -> int:
    """Stop the platform; dynos keep running unless --dynos is given."""
    return ups.down(_data(data), dynos=dynos, outside=_surroundings())


@click.command(
    epilog=example("oriel doctor", "oriel doctor --web 0.0.0.0:80 --web-tls 0.0.0.0:443 --json")
)
@_data_option
@click.option("--api", metavar="HOST:PORT", help="Where the API would listen.")
@click.option("--web", metavar="HOST:PORT", help="Where apps would answer.")
@click.option("--web-tls", metavar="HOST:PORT", help="Where apps would answer with TLS.")
@click.option("--rendezvous", metavar="HOST:PORT", help="Where oriel run would attach.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(data: Path | None, as_json: bool, **given: str | None) -> int:
    """Check this machine, and say what to type about what is not well.

    What is not given is as the data directory remembers it, or as `oriel up` would have it.
    """
    ports.keep_to_ourselves()
    directory = _data(data).expanduser().absolute()
    kept = _kept(directory)
    machine = probes.look(
        directory,
        _addresses(kept, given),
        SystemClock(),
        os.environ,
        isolation=kept.isolation if kept else settings.ISOLATION,
        tls_cert=kept.tls_cert if kept else None,
    )
    findings = doctors.judge(machine)
    _show(findings, as_json=as_json)
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _show(findings: tuple[Finding, ...], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
        return
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = click.style(MARKS[finding.state], fg=colours[finding.state])
        click.echo(f"{mark}  {finding.name:<{width}}  {finding.said}")
        if finding.fix and finding.state != "ok":
            click.echo(f"{'':<{width + 8}}{finding.fix}")


def _addresses(
    kept: settings.Settings | None, given: Mapping[str, str | None]
) -> tuple[tuple[str, Address], ...]:
    """Where `oriel up` would listen with these flags; an empty one is for nowhere."""
    places = {
        "--api": typed.address(settings.DEFAULT_API, "--api"),
        "--web": typed.address(settings.DEFAULT_WEB, "--web"),
        **dict(settings.addresses(kept) if kept else ()),
    }
    for name, text in given.items():
        flag = f"--{name.replace('_', '-')}"
        if text:
            places[flag] = typed.address(text, flag, any_port=flag == "--rendezvous")
        elif text is not None:
            places.pop(flag, None)
    return tuple((flag, place) for flag, place in places.items() if place.port)


def _kept(data: Path) -> settings.Settings | None:
    """The settings of a data directory, as far as they can be read."""
    with contextlib.suppress(OSError, faults.Fault):
        return settings.load(Layout(data).settings)
    return None


def _data(given: Path | None) -> Path:
    return given or default_data(os.geteuid() == 0, dict(os.environ))


def _surroundings() -> ups.Surroundings:
    return ups.Surroundings(os.environ, SystemClock(), ups.say_on_stderr)
