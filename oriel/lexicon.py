"""Owns the shared words: app, dyno, process type, release number. Values only.

Must not know HTTP, SQL, time or any other room. Text from outside becomes one of these at the
edge; what cannot be one raises `Malformed`, whose message a user can act on.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_APP_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,29}")
_PROCESS_TYPE = re.compile(r"[A-Za-z0-9][-\w]{0,127}", re.ASCII)
_CONFIG_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_DYNO_NAME = re.compile(r"([A-Za-z0-9][-\w]{0,127})\.([0-9]{1,6})", re.ASCII)
_EMAIL = re.compile(
    r"[^\s@<>\"'`\\;,()\[\]:]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,188}[A-Za-z0-9])?"
)

RESERVED_PROCESS_TYPES = frozenset(
    {"api", "router", "logplex", "run", "scheduler", "heroku-postgres", "heroku-redis"}
)
"""Process types that name a system source in the log channel (heroku-facts A2)."""

RELEASE_TYPE = "release"
"""The process type of the release phase: it runs before the dynos change and never scales."""


class Malformed(ValueError):
    """A text that is not the value it should be; the message says what is allowed."""


class AppName(str):
    """An app's name: 3 to 30 lower-case letters, digits and single dashes, a letter first."""

    __slots__ = ()

    def __new__(cls, text: str) -> AppName:
        """Check `text`; raises Malformed."""
        if not _APP_NAME.fullmatch(text):
            raise Malformed(
                f"App name {_shown(text)} is not allowed: use 3 to 30 lower-case letters, digits "
                "and dashes, beginning with a letter."
            )
        return super().__new__(cls, text)


class ProcessType(str):
    """A process type as a Procfile names it (`^[-\\w]{1,128}$`, heroku-facts E)."""

    __slots__ = ()

    def __new__(cls, text: str) -> ProcessType:
        """Check `text`; raises Malformed. Reserved names are the builder's to refuse."""
        if not _PROCESS_TYPE.fullmatch(text):
            raise Malformed(
                f"Process type {_shown(text)} is not allowed: use letters, digits, - and _."
            )
        return super().__new__(cls, text)


class ConfigKey(str):
    """The name of a config var: a letter or _, then letters, digits and _."""

    __slots__ = ()

    def __new__(cls, text: str) -> ConfigKey:
        """Check `text`; raises Malformed."""
        if not _CONFIG_KEY.fullmatch(text):
            raise Malformed(
                f"Config var name {_shown(text)} is not allowed: use letters, digits and _, "
                "not beginning with a digit."
            )
        return super().__new__(cls, text)


class Email(str):
    """An account's e-mail address, lower-cased. Safe to print in a log line."""

    __slots__ = ()

    def __new__(cls, text: str) -> Email:
        """Check `text`; raises Malformed."""
        if not _EMAIL.fullmatch(text):
            raise Malformed(f"{_shown(text)} is not an e-mail address.")
        return super().__new__(cls, text.lower())


@dataclass(frozen=True, slots=True, order=True)
class DynoName:
    """A dyno's name: process type and number, shown as `web.1`."""

    type: str
    number: int

    @classmethod
    def parse(cls, text: str) -> DynoName:
        """`web.1` as a value; raises Malformed."""
        match = _DYNO_NAME.fullmatch(text)
        if not match:
            raise Malformed(f"{_shown(text)} is not a dyno name: use TYPE.NUMBER, as in web.1.")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        """The name as users see it."""
        return f"{self.type}.{self.number}"


class ReleaseNumber(int):
    """A release's place in its app's ledger, shown as `v74`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> ReleaseNumber:
        """`v74` or `74` as a value; raises Malformed."""
        digits = text[1:] if text[:1] in ("v", "V") else text
        if not (digits.isascii() and digits.isdigit() and 0 < len(digits) <= 9 and int(digits)):
            raise Malformed(f"{_shown(text)} is not a release: use a number, as in v74.")
        return cls(digits)

    def __str__(self) -> str:
        """The number as users see it."""
        return f"v{int(self)}"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; an IPv6 host stands without brackets."""

    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self.host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host.rstrip(".").lower() in ("localhost", "localhost.localdomain")

    def __str__(self) -> str:
        """The form it is typed in; IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and through which door: every act and log line names one."""

    account_id: str
    email: str
    door: str
    """`api`, `git` or `platform`."""
    request_id: str = ""


PLATFORM = Actor(account_id="", email="oriel@localhost", door="platform")
"""The platform itself, where no user asked: recovery after a kill, daily chores."""


def _shown(text: str) -> str:
    """A text from outside, made safe and short for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
