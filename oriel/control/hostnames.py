"""Owns what a host name of an app may be: its form, in DNS's letters and in people's, and whose.

Pure but for what it is given. Must not know SQL or the router.
"""

from __future__ import annotations

import idna

from oriel import faults
from oriel.lexicon import Malformed
from oriel.router import pattern

_WILD = "*."


def ascii_of(text: str) -> str:
    """A host name as DNS has it: `Bücher.example` is `xn--bcher-kva.example`. Raises Malformed.

    IDNA 2008, with what people type (capitals, full-width dots) mapped first (UTS 46).
    """
    wild = text.startswith(_WILD)
    rest = text.removeprefix(_WILD).removesuffix(".")
    if not rest.isascii():
        rest = _encoded(rest)
    name = pattern((_WILD if wild else "") + rest)
    if "." not in name.removeprefix(_WILD):
        raise Malformed(
            f"{shown(text)} has one part only: give a whole name, as in www.{rest}.com."
        )
    _check_labels(name.removeprefix(_WILD), text)
    return name


def unicode_of(name: str) -> str:
    """The same as people read it; where that cannot be, as it is."""
    rest = name.removeprefix(_WILD)
    if "xn--" not in rest:
        return name
    try:
        return name[: -len(rest)] + idna.decode(rest)
    except (idna.IDNAError, UnicodeError):
        return name


def suffixes(name: str) -> list[str]:
    """The wildcards that `name` is below, the nearest first."""
    labels = name.removeprefix(_WILD).split(".")
    return [_WILD + ".".join(labels[place:]) for place in range(1, len(labels))]


def covers(name: str, host: str) -> bool:
    """Whether a certificate's name is good for a host, or for all that a wildcard stands for.

    In a certificate a wildcard stands for one label (RFC 6125).
    """
    name, host = name.lower().removesuffix("."), host.lower()
    if name == host:
        return True
    head, _, parent = host.partition(".")
    return head not in ("", "*") and name == _WILD + parent


def shown(text: str) -> str:
    """A text from outside, made safe and short for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def refuse_platforms(name: str, reserved: tuple[str, ...]) -> None:
    """Raise Forbidden for a name that is the platform's own, or below its domain for apps."""
    plain = name.removeprefix(_WILD)
    for own in reserved:
        parent = own.removeprefix(_WILD)
        if plain == parent or plain.endswith("." + parent):
            raise faults.Forbidden(
                f"{name} is the platform's own: apps have their names below {parent} by being "
                "called so.",
                hint="Add a domain of yours.",
            )


def _encoded(text: str) -> str:
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        reason = str(error)
        raise Malformed(
            f"{shown(text)} cannot be a host name"
            f"{': ' + reason if reason.isprintable() and len(reason) < 100 else ''}."
        ) from None


def _check_labels(name: str, text: str) -> None:
    """Raise Malformed for an `xn--` that stands for nothing, or for something else."""
    for label in name.split("."):
        if not label.startswith("xn--"):
            continue
        try:
            fine = idna.encode(idna.decode(label)).decode() == label
        except (idna.IDNAError, UnicodeError):
            fine = False
        if not fine:
            raise Malformed(f"{shown(text)} has a part that is not one of a host name: {label}.")
