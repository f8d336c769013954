"""Owns what git is told: arguments, environment and hooks, as values. Must not run anything.

Git runs as the app's uid in the sandbox and sees one repository. Its whole configuration is in
the environment: neither the machine's nor a user's is read, and the repository's own is git's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oriel.builder.limits import Limits
from oriel.builder.recipe import APP
from oriel.sandbox import Bind, Confinement

REPOSITORY = "/repo"
HOOKS = "/oriel/hooks"
EXCHANGE = "/oriel/push"
TREE = APP

SERVICES = ("git-upload-pack", "git-receive-pack")

_ASKED, _SAID, _VERDICT = "asked", "said", "verdict"
FIFOS = (_ASKED, _SAID, _VERDICT)

GO = "go"
ACCEPT = "accept"
REJECT = "reject"

PRE_RECEIVE = f"""\
#!/bin/sh
# Hands a push over to Oriel, shows what Oriel says, and ends with Oriel's verdict.
# All three pipes are opened before the first word, so that none is missed on either side.
exec 3<{EXCHANGE}/{_SAID} 4<{EXCHANGE}/{_VERDICT} 5>{EXCHANGE}/{_ASKED} || exit 1
echo hello >&5
read -r word <&4 && [ "$word" = {GO} ] || {{ cat <&3; exit 1; }}
{{
    echo "quarantine ${{GIT_QUARANTINE_PATH##*/}}"
    echo "head $(git symbolic-ref -q HEAD)"
    while read -r old new ref; do
        case $ref in refs/heads/main | refs/heads/master)
            none=$(echo "$old" | tr '0-9a-f' 0)
            echo "now $(git rev-parse -q --verify "$ref" || echo "$none") $ref"
            kind=$(git cat-file -t "$new" 2>/dev/null) && echo "kind $new $kind"
            ;;
        esac
        echo "update $old $new $ref"
    done
    echo end
}} >&5
cat <&3
read -r word <&4 && [ "$word" = {ACCEPT} ]
"""

POST_RECEIVE = """\
#!/bin/sh
# HEAD is the branch that was deployed last: a clone checks it out, a push may not delete it.
while read -r old new ref; do
    case $ref in refs/heads/main | refs/heads/master)
        case $new in *[!0]*) git symbolic-ref HEAD "$ref" ;; esac ;;
    esac
done
"""

HOOK_TEXTS = {"pre-receive": PRE_RECEIVE, "post-receive": POST_RECEIVE}


def environment(limits: Limits, room_bytes: int | None = None) -> dict[str, str]:
    """Git's environment; `room_bytes` is what a push may still bring."""
    room = limits.push_bytes_max if room_bytes is None else room_bytes
    settings = {
        "core.hooksPath": HOOKS,
        "core.bigFileThreshold": "32m",
        "gc.autoDetach": "false",
        "init.defaultBranch": "main",
        "protocol.allow": "never",
        "receive.autogc": "true",
        "receive.fsckObjects": "true",
        "receive.keepAlive": "5",
        "receive.maxInputSize": str(max(room, 1)),
        "safe.directory": REPOSITORY,
        "transfer.fsckObjects": "true",
        "uploadpack.keepAlive": "5",
    }
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def confinement(
    argv: tuple[str, ...],
    *,
    uid: int,
    repository: Path,
    env: Mapping[str, str],
    writable: bool = False,
    also: tuple[Bind, ...] = (),
) -> Confinement:
    """One of git's programs in the sandbox, with no network."""
    return Confinement(
        argv=argv,
        env=env,
        uid=uid,
        binds=(Bind(repository, REPOSITORY, writable), *also),
        cwd=REPOSITORY,
        hostname="git",
        network="none",
    )


INIT = ("git", "init", "--quiet", "--bare", "--template=", "--initial-branch=main", REPOSITORY)


def advertise(service: str) -> tuple[str, ...]:
    """The program that lists the refs for a client."""
    return ("git", _verb(service), "--stateless-rpc", "--advertise-refs", REPOSITORY)


def serve(service: str) -> tuple[str, ...]:
    """The program that answers one request of a client."""
    return ("git", _verb(service), "--stateless-rpc", REPOSITORY)


def _verb(service: str) -> str:
    if service not in SERVICES:
        raise ValueError(service)
    return service.removeprefix("git-")


def waiting_objects(quarantine: str) -> dict[str, str]:
    """The environment in which the objects of a push that is not yet accepted are seen."""
    if not quarantine:
        return {}
    return {
        "GIT_OBJECT_DIRECTORY": f"{REPOSITORY}/objects/{quarantine}",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{REPOSITORY}/objects",
    }


def list_tree(commit: str) -> tuple[str, ...]:
    """Every file of a commit: mode, kind, id, size, path."""
    return ("git", "ls-tree", "-r", "-z", "-l", "--full-tree", commit)


CHECKOUT_ENV = {
    "GIT_DIR": REPOSITORY,
    "GIT_WORK_TREE": APP,
    "GIT_INDEX_FILE": "/tmp/index",  # noqa: S108 - the sandbox's own /tmp
}


def check_out(commit: str) -> tuple[str, ...]:
    """Write a commit's files out to /app."""
    script = 'git read-tree --empty && git read-tree "$1" && exec git checkout-index --all'
    return ("/bin/sh", "-c", script, "sh", commit)


def protocol(header: str) -> dict[str, str]:
    """The version of git's protocol that a client asks for, if it is one that git knows."""
    return {"GIT_PROTOCOL": header} if header in ("version=1", "version=2") else {}


def packet(text: str) -> bytes:
    """One line of git's protocol."""
    content = text.encode()
    return b"%04x%s" % (len(content) + 4, content)


def service_header(service: str) -> bytes:
    """What git's HTTP protocol wants before the list of refs."""
    return packet(f"# service={service}\n") + b"0000"
