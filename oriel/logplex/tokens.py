"""Owns the tokens: who may write into which channel, and under what name. Kept on disk.

Must not know sockets or frames. The file is a journal: one line an act, each with a checksum,
durable before it is answered for; a torn end is cut, a damaged line is left out and counted. A
token is a capability to write, so the file is as private as the directory.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from oriel import faults
from oriel.clock import new_id, new_key
from oriel.logplex import files
from oriel.logplex.channel import check_name

TOKEN = re.compile(r"t\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a source may be called: it stands in front of each of its lines."""

TOKENS_PER_CHANNEL = 1000
CREDENTIALS_MAX = 1000
_FORMAT = 1
_COMPACT_LINES = 1000


@dataclass(frozen=True, slots=True)
class Token:
    """One source of one channel."""

    id: str
    channel: str
    name: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and password for `POST /logs`. With `any_channel` it writes by the frames' tokens."""

    id: str
    digest: str
    any_channel: bool


def new_token() -> str:
    """An id that nobody has yet."""
    return f"t.{new_id()}"


class Tokens:
    """All tokens and credentials of one logplex."""

    def __init__(self, path: Path) -> None:
        """Open or make the journal. May raise OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._tokens: dict[str, Token] = {}
        self._of: dict[str, dict[str, Token]] = {}
        self._credentials: dict[str, Credential] = {}
        self.generation = 0
        """Changes whenever what a token means may have changed."""
        self.damaged_lines = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = 0
        lines = self._load()
        if lines > _COMPACT_LINES and lines > 2 * (len(self._tokens) + len(self._credentials)):
            self._compact()

    def close(self) -> None:
        """Close the journal."""
        os.close(self._fd)

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._tokens)

    def get(self, token: str) -> Token | None:
        """The token of that id."""
        return self._tokens.get(token)

    def of(self, channel: str | None = None) -> list[Token]:
        """The tokens of a channel, or all, oldest first."""
        if channel is None:
            return list(self._tokens.values())
        return list(self._of.get(channel, {}).values())

    def create(self, channel: object, name: object, token: object = None) -> Token:
        """A token of a channel. With an id it is that one: asked for twice, there is still one."""
        key = check_name(channel)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise faults.Invalid("A token's name is 1 to 64 letters, digits, dots, - and _.")
        if token is not None and not (isinstance(token, str) and TOKEN.fullmatch(token)):
            raise faults.Invalid("A token is t. and a UUID.")
        made = Token(token or new_token(), key, name)
        known = self._tokens.get(made.id)
        if known == made:
            return known
        if known:
            raise faults.Conflict("There is another token of that id.")
        if len(self._of.get(key, {})) >= TOKENS_PER_CHANNEL:
            raise faults.Invalid(f"A channel has at most {TOKENS_PER_CHANNEL} tokens.")
        act = {"act": "token", "token": made.id, "channel": key, "name": name}
        self._write([act])
        self._apply(act)
        return made

    def named(self, channel: str, name: str) -> Token:
        """The oldest token of that name in a channel; made if there is none."""
        for each in self._of.get(channel, {}).values():
            if each.name == name:
                return each
        return self.create(channel, name)

    def revoke(self, token: object) -> bool:
        """Take a token back; whether there was one."""
        if not isinstance(token, str) or token not in self._tokens:
            return False
        self._do({"act": "revoke", "token": token})
        return True

    def forget(self, channel: str) -> None:
        """Take back all tokens of a channel that is removed."""
        if self._of.get(channel):
            self._do({"act": "forget", "channel": channel})

    def create_credential(self, any_channel: bool) -> tuple[Credential, str]:
        """A new credential, and its password, which only its owner knows from then on."""
        if len(self._credentials) >= CREDENTIALS_MAX:
            raise faults.Invalid(f"There are at most {CREDENTIALS_MAX} credentials.")
        password = new_key(32).hex()
        made = Credential(new_id(), _digest(password), any_channel)
        self._do({"act": "credential", "id": made.id, "digest": made.digest, "any": any_channel})
        return made, password

    def revoke_credential(self, number: object) -> bool:
        """Take a credential back; whether there was one."""
        if not isinstance(number, str) or number not in self._credentials:
            return False
        self._do({"act": "revoke-credential", "id": number})
        return True

    def credentials(self) -> list[Credential]:
        """All credentials, oldest first."""
        return list(self._credentials.values())

    def credential(self, number: str, password: str) -> Credential | None:
        """The credential of that id, when the password is its own."""
        found = self._credentials.get(number)
        right = hmac.compare_digest(_digest(password), found.digest if found else "")
        return found if right else None

    def _do(self, act: dict[str, Any]) -> None:
        self._write([act])
        self._apply(act)

    def _write(self, acts: Iterable[dict[str, Any]]) -> None:
        lines = b"".join(map(_packed, acts))
        try:
            files.write_at(self._fd, lines, self._size)
            os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise faults.Unavailable(
                f"The tokens cannot be written: {error.strerror or error}.",
                hint="Make room on the disk, then try again.",
            ) from error
        self._size += len(lines)

    def _apply(self, act: dict[str, Any]) -> None:
        kind = act["act"]
        if kind == "token":
            token = Token(str(act["token"]), str(act["channel"]), str(act["name"]))
            self._tokens[token.id] = token
            self._of.setdefault(token.channel, {})[token.id] = token
        elif kind == "revoke":
            gone = self._tokens.pop(str(act["token"]), None)
            if gone:
                self._of[gone.channel].pop(gone.id, None)
        elif kind == "forget":
            for each in self._of.pop(str(act["channel"]), {}):
                self._tokens.pop(each, None)
        elif kind == "credential":
            made = Credential(str(act["id"]), str(act["digest"]), bool(act["any"]))
            self._credentials[made.id] = made
        elif kind == "revoke-credential":
            self._credentials.pop(str(act["id"]), None)
        self.generation += 1

    def _load(self) -> int:
        data = files.read_at(self._fd, os.fstat(self._fd).st_size, 0)
        self._size = data.rfind(b"\n") + 1
        lines = data[: self._size].split(b"\n")[:-1]
        for line in lines:
            act = _unpacked(line)
            try:
                if act is None:
                    raise ValueError("damaged")
                self._apply(act)
            except (KeyError, ValueError):
                self.damaged_lines += 1
        if len(data) > self._size:
            os.ftruncate(self._fd, self._size)
        if not lines:
            self._write([{"act": "begin", "oriel": "tokens", "version": _FORMAT}])
            files.sync_directory(self._path.parent)
        return len(lines)

    def _compact(self) -> None:
        """Write only what still holds, beside it, and put it in its place."""
        draft = self._path.with_name(self._path.name + ".new")
        old, self._fd = (
            self._fd,
            os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600),
        )
        os.close(old)
        self._size = 0
        self._write(self._acts())
        os.rename(draft, self._path)
        files.sync_directory(self._path.parent)

    def _acts(self) -> Iterator[dict[str, Any]]:
        yield {"act": "begin", "oriel": "tokens", "version": _FORMAT}
        for token in self._tokens.values():
            yield {
                "act": "token",
                "token": token.id,
                "channel": token.channel,
                "name": token.name,
            }
        for each in self._credentials.values():
            yield {
                "act": "credential",
                "id": each.id,
                "digest": each.digest,
                "any": each.any_channel,
            }


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode("utf-8", "replace")).hexdigest()


def _packed(act: dict[str, Any]) -> bytes:
    body = json.dumps(act, separators=(",", ":")).encode()
    return b"%08x %b\n" % (crc32(body), body)


def _unpacked(line: bytes) -> dict[str, Any] | None:
    check, _, body = line.partition(b" ")
    try:
        if int(check, 16) != crc32(body):
            return None
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
