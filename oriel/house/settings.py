"""Owns what `oriel up` was asked for: addresses, domain, database, and how they are kept.

Must not know processes. A data directory remembers its settings (settings.json), so that a later
`oriel up` without flags starts the same platform; only `--insecure-http` must be said each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oriel import faults
from oriel.house import typed
from oriel.lexicon import Address

VERSION = 1
DEFAULT_API = "127.0.0.1:5050"
DEFAULT_WEB = "127.0.0.1:8080"
DEFAULT_RENDEZVOUS = "127.0.0.1:0"
"""With port 0 a free one is chosen when `oriel up` first starts, and kept."""

ISOLATION = "bubblewrap"
NO_ISOLATION = "none"

AUTO = "auto"
SPARES_MAX = 1000

BESIDE = "sqlite:///oriel.db"
"""How a database in the data directory itself is kept, so that the directory can be moved."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the processes of one platform are started with."""

    api: Address
    web: Address
    database: str
    domain: str | None = None
    rendezvous: Address = Address("127.0.0.1", 0)
    """Where clients are attached to one-off dynos, over TLS."""
    router_log_port: int = 0
    insecure_http: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    tls: str = "off"
    """`authority`: the API's certificate is by Oriel's own authority. With `tls_cert`, that one."""
    web_tls: Address | None = None
    acme_directory: str = typed.DEFAULT_ACME
    acme_ca: str | None = None
    key_file: str | None = None
    isolation: str = ISOLATION
    """Or NO_ISOLATION, for development: apps may do what their user may."""
    spares: int | None = None
    """How many dynos have a sandbox ready that takes their place; None: by the machine's memory."""
    allow_egress: tuple[str, ...] = ()
    """Networks that drains may connect to though they are this machine or its own."""
    trust_proxy: tuple[str, ...] = ()
    """Networks of proxies in front of `web` whose X-Forwarded-Proto and -Port are believed."""

    @property
    def api_url(self) -> str:
        """Where a person on this machine reaches the API."""
        return f"{'https' if self.has_tls else 'http'}://{_reachable(self.api)}"

    @property
    def has_tls(self) -> bool:
        """Whether the API speaks TLS."""
        return self.tls_cert is not None or self.tls == "authority"

    @property
    def apps_url(self) -> str:
        """The form of an app's address, with NAME for its name."""
        port = "" if self.web.port == 80 else f":{self.web.port}"
        return f"http://NAME.{self.domain or 'localhost'}{port}"

    def digest(self) -> str:
        """Changes when a process that was started with other settings must be started again."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The text of settings.json."""
        return json.dumps(
            {
                "version": VERSION,
                "api": {"host": self.api.host, "port": self.api.port},
                "web": {"host": self.web.host, "port": self.web.port},
                "domain": self.domain,
                "database": self.database,
                "rendezvous": {"host": self.rendezvous.host, "port": self.rendezvous.port},
                "router_log_port": self.router_log_port,
                "insecure_http": self.insecure_http,
                "tls_cert": self.tls_cert,
                "tls_key": self.tls_key,
                "tls": self.tls,
                "web_tls": self.web_tls and {"host": self.web_tls.host, "port": self.web_tls.port},
                "acme_directory": self.acme_directory,
                "acme_ca": self.acme_ca,
                "key_file": self.key_file,
                "isolation": self.isolation,
                "spares": self.spares,
                "allow_egress": list(self.allow_egress),
                "trust_proxy": list(self.trust_proxy),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str, where: str = "settings.json") -> Settings:
        """Read settings.json; raises Invalid with a sentence when it is not one."""
        try:
            read = json.loads(text)
            if read["version"] != VERSION:
                raise faults.Invalid(
                    f"{where} is of version {read['version']!r}; this Oriel reads {VERSION}.",
                    hint="Use the Oriel that wrote it, or a newer one.",
                )
            return cls(
                api=Address(str(read["api"]["host"]), int(read["api"]["port"])),
                web=Address(str(read["web"]["host"]), int(read["web"]["port"])),
                database=str(read["database"]),
                domain=read.get("domain"),
                rendezvous=_rendezvous(read.get("rendezvous")),
                router_log_port=int(read.get("router_log_port", 0)),
                insecure_http=bool(read.get("insecure_http", False)),
                tls_cert=read.get("tls_cert"),
                tls_key=read.get("tls_key"),
                tls=str(read.get("tls", "off")),
                web_tls=_optional_address(read.get("web_tls")),
                acme_directory=str(read.get("acme_directory", typed.DEFAULT_ACME)),
                acme_ca=read.get("acme_ca"),
                key_file=read.get("key_file"),
                isolation=_isolation(str(read.get("isolation", ISOLATION))),
                spares=_optional_count(read.get("spares")),
                allow_egress=tuple(map(str, read.get("allow_egress", ()))),
                trust_proxy=tuple(map(str, read.get("trust_proxy", ()))),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise faults.Invalid(
                f"{where} cannot be read ({type(error).__name__}).",
                hint=f"Move it away and give the flags again: oriel up --help. It is {where}.",
            ) from error


@dataclass(frozen=True, slots=True)
class Flags:
    """What was typed after `oriel up`; None is "as before"."""

    api: str | None = None
    web: str | None = None
    domain: str | None = None
    rendezvous: str | None = None
    database: str | None = None
    key_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls: str | None = None
    web_tls: str | None = None
    acme_directory: str | None = None
    acme_ca: str | None = None
    insecure_http: bool = False
    allow_egress: tuple[str, ...] = ()
    isolation: str | None = None
    spares: str | None = None
    trust_proxy: tuple[str, ...] = ()


def settle(flags: Flags, kept: Settings | None, data: Path) -> Settings:
    """What the flags make of the settings kept from last time; refuses what is unsafe."""
    base = kept or Settings(
        api=typed.address(DEFAULT_API, "--api"),
        web=typed.address(DEFAULT_WEB, "--web"),
        database=_own_database(data),
    )
    settled = replace(
        base,
        api=typed.address(flags.api, "--api") if flags.api else base.api,
        web=typed.address(flags.web, "--web") if flags.web else base.web,
        rendezvous=typed.address(flags.rendezvous, "--rendezvous", any_port=True)
        if flags.rendezvous
        else base.rendezvous,
        domain=base.domain if flags.domain is None else typed.domain(flags.domain),
        database=typed.database(flags.database) if flags.database else base.database,
        key_file=typed.absolute(flags.key_file, base.key_file),
        tls_cert=typed.absolute(flags.tls_cert, base.tls_cert),
        tls_key=typed.absolute(flags.tls_key, base.tls_key),
        tls=flags.tls or base.tls,
        web_tls=base.web_tls if flags.web_tls is None else _web_tls(flags.web_tls),
        acme_directory=typed.directory(flags.acme_directory, base.acme_directory),
        acme_ca=typed.absolute(flags.acme_ca, base.acme_ca),
        insecure_http=flags.insecure_http,
        isolation=_isolation(flags.isolation) if flags.isolation else base.isolation,
        spares=base.spares if flags.spares is None else _spares(flags.spares),
        allow_egress=typed.networks(flags.allow_egress)
        if flags.allow_egress
        else base.allow_egress,
        trust_proxy=typed.networks(flags.trust_proxy) if flags.trust_proxy else base.trust_proxy,
    )
    _refuse_unsafe(settled)
    return settled


def addresses(settings: Settings) -> tuple[tuple[str, Address], ...]:
    """Where the platform listens, by the flags that say so; not where that is still open."""
    every = (
        ("--api", settings.api),
        ("--web", settings.web),
        ("--web-tls", settings.web_tls),
        ("--rendezvous", settings.rendezvous),
    )
    return tuple((flag, address) for flag, address in every if address and address.port)


def load(path: Path) -> Settings | None:
    """The settings kept at `path`, or None where there are none yet."""
    try:
        kept = Settings.from_json(path.read_text(), str(path))
    except FileNotFoundError:
        return None
    own = _own_database(path.parent)
    return replace(kept, database=own) if kept.database == BESIDE else kept


def save(path: Path, settings: Settings) -> None:
    """Keep `settings` at `path` (0600: a database URL may hold a password), whole or not at all."""
    if settings.database == _own_database(path.parent):
        settings = replace(settings, database=BESIDE)
    draft = path.with_suffix(".json.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(settings.to_json() + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def masked_database(url: str) -> str:
    """A database URL without its password, fit to be shown."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:...@", url)


def as_dict(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, the database's password masked."""
    shown: dict[str, Any] = json.loads(settings.to_json())
    return shown | {"database": masked_database(settings.database)}


def _rendezvous(kept: Any) -> Address:
    """Settings of an Oriel that had none yet have none."""
    if kept is None:
        return typed.address(DEFAULT_RENDEZVOUS, "--rendezvous", any_port=True)
    return Address(str(kept["host"]), int(kept["port"]))


def _refuse_unsafe(settings: Settings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise faults.Invalid(
            "--tls-cert and --tls-key belong together.",
            hint="Type: oriel up --tls-cert CERT.pem --tls-key KEY.pem",
        )
    if settings.api.is_loopback or settings.has_tls or settings.insecure_http:
        return
    raise faults.Invalid(
        f"The API would listen at {settings.api}, beyond this machine, without TLS: "
        "passwords and tokens could be read on the way.",
        hint="Give --tls-cert CERT.pem --tls-key KEY.pem, or --tls authority for a certificate by "
        "Oriel's own authority, or --insecure-http to do it all the same "
        "(behind a proxy that ends TLS, say).",
    )


def _isolation(text: str) -> str:
    if text not in (ISOLATION, NO_ISOLATION):
        raise faults.Invalid(
            f"--isolation {text!r} is nothing that Oriel has.",
            hint=f"Type: oriel up --isolation {ISOLATION} (or {NO_ISOLATION}, for development)",
        )
    return text


def _spares(text: str) -> int | None:
    if text == AUTO:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > SPARES_MAX:
        raise faults.Invalid(
            f"--spares {text!r} is no number from 0 to {SPARES_MAX}, and not {AUTO}.",
            hint=f"Type: oriel up --spares 0 (none), or --spares {AUTO} (by the machine's memory)",
        )
    return int(text)


def _optional_count(read: Any) -> int | None:
    return None if read is None else int(read)


def _web_tls(text: str) -> Address | None:
    return typed.address(text, "--web-tls") if text else None


def _optional_address(read: Any) -> Address | None:
    return Address(str(read["host"]), int(read["port"])) if read else None


def _own_database(data: Path) -> str:
    return f"sqlite:///{data / 'oriel.db'}"


def _reachable(address: Address) -> Address:
    """Where a listener on all interfaces is reached from this machine."""
    if address.host == "0.0.0.0":  # noqa: S104 - compared, not bound
        return replace(address, host="127.0.0.1")
    return replace(address, host="::1") if address.host == "::" else address
