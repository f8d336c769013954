"""Owns `apps` and what is done to an app as a whole."""

from __future__ import annotations

import sys
from typing import Any

import click

from oriel.cli import ages, outcome, render, repository, session, shellwords, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below
from oriel.client.refusal import Refusal


@click.command(epilog=example("oriel apps"))
@with_json
def apps(as_json: bool) -> None:
    """List your apps, and those that others let you work on."""
    client = session.client()
    found = client.listing("/apps", range="name ..; max=1000")
    if as_json:
        render.emit_json(found)
        return
    if not found:
        terminal.note("You have no apps. Create one: oriel apps:create NAME")
        return
    me = client.get("/account").data["email"]
    for each in sorted(found, key=lambda each: str(each["name"])):
        owner = (each.get("owner") or {}).get("email") or ""
        print(each["name"] if owner == me else f"{each['name']:<30}  {terminal.shown(owner)}")


@click.command(epilog=example("oriel apps:create foobaz", "oriel create"))
@click.argument("name", required=False)
@click.option("-a", "--app", metavar="NAME", help="The same as NAME.")
@click.option("-r", "--remote", default="oriel", metavar="REMOTE", help="Git remote to add.")
@click.option("-n", "--no-remote", is_flag=True, help="Add no git remote.")
@with_json
def create(name: str | None, app: str | None, remote: str, no_remote: bool, as_json: bool) -> None:
    """Create an app; in a git repository, add the remote that deploys it."""
    wanted = name or app
    client = session.client()
    body = {"name": wanted} if wanted else {}
    if as_json:
        made = client.post("/apps", body).data
        render.emit_json(made)
    else:
        text = f"Creating {wanted}" if wanted else "Creating app"
        made = outcome.step(text, lambda: client.post("/apps", body).data)
        found = outcome.newest(client, made["name"], 1)
        own = [] if wanted else [made["name"]]
        outcome.done(", ".join([*own, *(f"v{each['version']}" for each in found)]))
        print(f"{made['web_url']} | {git_url(made['name'])}")
    if not no_remote and repository.inside():
        _add_remote(made["name"], remote)


@click.command(epilog=example("oriel apps:info foobaz", "oriel info -s"))
@click.argument("name", required=False)
@with_app
@click.option("-s", "--shell", is_flag=True, help="Print key=value, quoted for a shell.")
@with_json
def info(name: str | None, app: str | None, remote: str | None, shell: bool, as_json: bool) -> None:
    """Show an app."""
    found = session.client().get(below("apps", session.app(name or app, remote))).data
    if as_json:
        render.emit_json(found)
    elif shell:
        facts = {label.lower().replace(" ", "_"): value for label, value in _facts(found)}
        render.emit(shellwords.lines({"name": found["name"], **facts}))
    else:
        print(f"=== {found['name']}")
        render.emit(render.fields(_facts(found)))


@click.command(epilog=example("oriel apps:rename barfoo -a foobaz"))
@click.argument("new")
@with_app
@with_json
def rename(new: str, app: str | None, remote: str | None, as_json: bool) -> None:
    """Give an app another name; its address changes with it."""
    old = session.app(app, remote)
    client = session.client()
    pointing = repository.pointing_to(session.address().netloc, old, repository.remotes())
    if as_json:
        made = client.patch(below("apps", old), {"name": new}).data
        render.emit_json(made)
    else:
        made = outcome.step(
            f"Renaming {old} to {new}",
            lambda: client.patch(below("apps", old), {"name": new}).data,
        )
        outcome.done()
        print(f"{made['web_url']} | {git_url(made['name'])}")
    for each in pointing:
        repository.set_remote(each, git_url(made["name"]))
        terminal.note(f"Git remote {each} updated")


@click.command(epilog=example("oriel apps:destroy foobaz --confirm foobaz"))
@click.argument("name", required=False)
@with_app
@click.option("-c", "--confirm", metavar="NAME", help="The app's name once more.")
def destroy(name: str | None, app: str | None, remote: str | None, confirm: str | None) -> None:
    """Destroy an app: its processes, code, config and logs, for good."""
    wanted = session.app(name or app, remote)
    client = session.client()
    # First of all: is it there, and what is it called where an id was given?
    found = client.get(below("apps", wanted)).data["name"]
    _confirm(found, confirm)
    pointing = repository.pointing_to(session.address().netloc, found, repository.remotes())
    outcome.step(f"Destroying {found}", lambda: client.delete(below("apps", found)))
    outcome.done()
    for each in pointing:
        repository.remove_remote(each)
        terminal.note(f"Git remote {each} removed")


@click.command("open", epilog=example("oriel open", "oriel open /about", "oriel open --url"))
@click.argument("path", required=False)
@with_app
@click.option("--url", "only_url", is_flag=True, help="Only print the address.")
@with_json
def open_app(
    path: str | None, app: str | None, remote: str | None, only_url: bool, as_json: bool
) -> None:
    """Open the app in a browser."""
    found = session.client().get(below("apps", session.app(app, remote))).data
    url = str(found["web_url"]).rstrip("/") + "/" + (path or "").lstrip("/")
    if not url.startswith(("http://", "https://")):
        raise Refusal("The app's address is not one for a browser.", id="fault")
    if as_json:
        render.emit_json({"url": url})
        return
    if only_url:
        print(url)
        return
    import webbrowser

    terminal.note(f"Opening {url}")
    if not webbrowser.open(url):
        print(url)


def git_url(name: str) -> str:
    """Where git pushes to: below the API as this client reaches it, so that the login fits."""
    return f"{session.address()}/{name}.git"


def point(name: str, remote: str) -> None:
    """Make the remote push to an app, with the token that `oriel` knows."""
    repository.set_remote(remote, git_url(name))
    repository.set_helper(session.address().origin)


def _add_remote(name: str, remote: str) -> None:
    if remote in repository.remotes():
        terminal.note(
            f"Git remote {remote} is there already. To change it: oriel git:remote -a {name}"
        )
        return
    point(name, remote)
    terminal.note(f"Git remote {remote} added")


def _confirm(name: str, given: str | None) -> None:
    if given is None:
        terminal.complain(
            "WARNING: Potentially Destructive Action",
            f"This command will destroy {name}",
            f'To proceed, type "{name}" or re-run this command with --confirm {name}',
        )
        print("\n> ", end="", file=sys.stderr, flush=True)
        given = sys.stdin.readline().strip()
        if not sys.stdin.isatty():
            terminal.note("")
    if given != name:
        raise Refusal(
            f"Confirmation did not match {name}. Aborted.",
            id="confirmation_required",
            hint=f"To destroy it: oriel apps:destroy {name} --confirm {name}",
        )


def _facts(app: dict[str, Any]) -> list[tuple[str, str]]:
    current = (app.get("oriel") or {}).get("current")
    facts = [
        ("Web URL", app.get("web_url") or ""),
        ("Git URL", git_url(app["name"])),
        ("Owner", (app.get("owner") or {}).get("email") or ""),
        ("Release", f"v{current}" if current else ""),
        ("Maintenance", "on" if app.get("maintenance") else "off"),
        ("Language", app.get("buildpack_provided_description") or ""),
        ("Stack", (app.get("stack") or {}).get("name") or ""),
        ("Slug size", _size(app.get("slug_size"))),
        ("Repo size", _size(app.get("repo_size"))),
        ("Created", ages.local(ages.parse(app["created_at"]))),
    ]
    return [(label, value) for label, value in facts if value]


def _size(size_bytes: int | None) -> str:
    if not size_bytes:
        return ""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"
