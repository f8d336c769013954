"""Owns how each value of the domain looks as Heroku's JSON.

Every member that the official command line reads is there and not null where it expects
something (heroku-cli-contract section 2), however little Oriel has to say by it. What Heroku has
no word for is under `oriel`. Pure: must not know requests.
"""

from __future__ import annotations

import functools
import math
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oriel.builder import Build
    from oriel.control.apps import AppCard
    from oriel.control.certs import CertificateCard
    from oriel.control.domains import DomainCard
    from oriel.control.features import AppFeature
    from oriel.control.formation import TypeScale
    from oriel.control.logs import LogSession
    from oriel.control.releases import ReleaseCard
    from oriel.ledger import Diff, Report
    from oriel.ledger.diff import Changed, Differences
    from oriel.manifold import Dyno
    from oriel.people import Account, Member, Token

Json = dict[str, Any]

_NAMES = uuid.UUID("6f1c3f52-0f1e-4f1c-9d51-0a1c0d2b7a10")
"""The namespace of ids that Oriel needs for Heroku's sake only: they are made from names."""

_DIGITS = re.compile("[0-9a-f]{32}")

_THE_BEGINNING = datetime(2011, 5, 31, tzinfo=UTC)
"""When Cedar was announced: the age of what has always been there."""

MASK = "**********"
"""What stands for the unknown part of a token; the official command line looks for just this."""


def made_id(*names: str) -> str:
    """An id that is always the same for the same names."""
    return str(uuid.uuid5(_NAMES, "\n".join(names)))


def moment(at: datetime) -> str:
    """A time as Heroku writes it: UTC, whole seconds."""
    return at.astimezone(UTC).isoformat(timespec="seconds")[:-6] + "Z"


def exact(at: datetime) -> str:
    """A time with all that is known of it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _named(kind: str, name: str) -> Json:
    return {"id": made_id(kind, name), "name": name}


def region() -> Json:
    """The one region. It is called `us` because that is the name the command line leaves out."""
    return {
        **_named("region", "us"),
        "country": "United States",
        "created_at": moment(_THE_BEGINNING),
        "description": "This installation",
        "locale": "here",
        "private_capable": False,
        "provider": {"name": "oriel", "region": "us-east-1"},
        "updated_at": moment(_THE_BEGINNING),
    }


def stack(name: str) -> Json:
    """A stack."""
    return {
        **_named("stack", name),
        "created_at": moment(_THE_BEGINNING),
        "default": True,
        "state": "public",
        "updated_at": moment(_THE_BEGINNING),
    }


def app(card: AppCard) -> Json:
    """An app."""
    it = card.app
    return {
        "acm": card.automatic_certificates,
        "archived_at": None,
        "build_stack": _named("stack", it.stack),
        "buildpack_provided_description": card.language or None,
        "create_status": "complete",
        "created_at": moment(it.created_at),
        "generation": _named("generation", "cedar"),
        "git_url": card.git_url,
        "id": it.id,
        "internal_routing": False,
        "locked": False,
        "maintenance": it.maintenance,
        "name": it.name,
        "organization": None,
        "owner": {"email": it.owner_email, "id": it.owner_id},
        "process_tier": "production",
        "region": _named("region", "us"),
        "released_at": moment(card.released_at) if card.released_at else None,
        "repo_size": card.repo_size_bytes,
        "slug_size": card.slug_size_bytes,
        "space": None,
        "stack": _named("stack", it.stack),
        "team": None,
        "updated_at": moment(it.updated_at),
        "web_url": card.web_url,
        "oriel": {"current": card.current},
    }


def domain(card: DomainCard) -> Json:
    """A host name of an app."""
    held = card.certificate
    return {
        "acm_status": card.status,
        "acm_status_reason": card.reason,
        "app": {"id": card.app.id, "name": card.app.name},
        "cname": card.target if card.custom else None,
        "created_at": moment(card.created_at),
        "hostname": card.hostname,
        "id": card.id if card.custom else made_id("domain", card.app.id),
        "kind": "custom" if card.custom else "heroku",
        "sni_endpoint": {"id": held.id, "name": held.name} if held else None,
        "status": "none",
        "updated_at": moment(card.updated_at),
        "oriel": {
            "next_try": exact(card.automatic.next_at) if card.automatic else None,
            "name": card.name,
        },
    }


def certificate(card: CertificateCard) -> Json:
    """A certificate, as Heroku's SNI endpoint; never its key."""
    it = card.certificate
    return {
        "app": {"id": card.app.id, "name": card.app.name},
        "certificate_chain": it.chain,
        "created_at": moment(it.created_at),
        "display_name": None,
        "domains": list(card.domains),
        "id": it.id,
        "name": it.name,
        "ssl_cert": {
            "acm": it.automatic,
            "ca_signed?": card.trusted,
            "cert_domains": list(it.names),
            "expires_at": moment(it.ends_at),
            "id": it.id,
            "issuer": it.issuer,
            "self_signed?": it.issuer == it.subject,
            "starts_at": moment(it.starts_at),
            "subject": it.subject,
        },
        "updated_at": moment(it.updated_at),
        "oriel": {"hostnames": list(card.hostnames), "warnings": list(card.warnings)},
    }


def release(card: ReleaseCard, app_name: str = "") -> Json:
    """A release. Its slug's id is the digest of the code, not a UUID."""
    it = card.release
    app_part = {"id": it.app_id, "name": app_name} if app_name else {"id": it.app_id}
    return {
        "addon_plan_names": [],
        "app": app_part,
        "artifacts": [],
        "created_at": moment(it.created_at),
        "current": card.current,
        "description": it.description,
        "eligible_for_rollback": card.eligible_for_rollback,
        "id": it.id,
        "output_stream_url": card.output_url,
        "slug": {"id": it.slug_id} if it.slug_id else None,
        "stack": it.stack,
        "status": it.status,
        "updated_at": moment(it.created_at),
        "user": {"email": it.by_email, "id": it.by_id},
        "version": it.version,
        "oriel": {
            "at": exact(it.created_at),
            "commit": it.commit,
            "copy_of": it.copy_of,
            "kind": it.kind,
            "previous": card.previous,
            "process_types": dict(it.process_types),
            "reason": it.status_reason,
        },
    }


def formation(it: TypeScale) -> Json:
    """A process type of the formation."""
    return {
        "app": {"id": it.app.id, "name": it.app.name},
        "command": it.command,
        "created_at": moment(it.app.created_at),
        "dyno_size": _named("dyno-size", size(it.size)),
        "id": made_id("formation", it.app.id, it.type),
        "quantity": it.quantity,
        "size": size(it.size),
        "type": it.type,
        "updated_at": moment(it.app.updated_at),
        "oriel": {"release": it.release},
    }


@functools.lru_cache(maxsize=64)
def size(name: str) -> str:
    """A dyno size as Heroku shows it: `standard-1x` is Standard-1X."""
    return "-".join(
        part.upper() if len(part) <= 2 or part == "ram" else part.capitalize()
        for part in name.split("-")
    )


def dyno(it: Dyno, app_name: str, *, extended: bool = False) -> Json:
    """A running dyno."""
    exactly = exact(it.since)
    since = exactly[:19] + "Z"
    shown: Json = {
        "app": {"id": it.app_id, "name": app_name},
        "attach_url": None,
        "command": it.command,
        "created_at": since,
        "id": _dashed(it.instance),
        "name": str(it.name),
        "release": {"version": it.release},
        "size": size(it.size),
        "state": it.state,
        "type": it.name.type,
        "updated_at": since,
        "oriel": {
            "instance": it.instance,
            "port": it.port,
            "reason": it.reason,
            "cause": it.cause.kept() if it.cause else None,
            "since": exactly,
            "serving": it.serving,
            "crashes": it.crashes,
            "next_try_at": exact(it.next_try_at) if it.next_try_at else None,
        },
    }
    if extended:
        shown["extended"] = {
            "az": None,
            "execution_plane": None,
            "fleet": None,
            "instance": it.instance,
            "ip": None,
            "port": it.port,
            "region": "us",
            "route": None,
        }
    return shown


def feature(it: AppFeature) -> Json:
    """A feature of an app. `general` is the state of those that Heroku's command line lists."""
    return {
        "created_at": moment(it.created_at),
        "description": it.description,
        "display_name": it.name,
        "doc_url": "",
        "enabled": it.enabled,
        "feedback_email": "",
        "id": it.id,
        "name": it.name,
        "state": "general",
        "updated_at": moment(it.updated_at),
    }


def _dashed(instance: str) -> str:
    """A UUID as text, of its digits; anything else as it is."""
    if not _DIGITS.fullmatch(instance):
        return instance
    parts = (instance[:8], instance[8:12], instance[12:16], instance[16:20], instance[20:])
    return "-".join(parts)


def account(it: Account) -> Json:
    """An account, as its owner sees it."""
    return {
        "allow_tracking": False,
        "beta": False,
        "country_of_residence": None,
        "created_at": moment(it.created_at),
        "default_organization": None,
        "default_team": None,
        "delinquent_at": None,
        "email": it.email,
        "federated": False,
        "id": it.id,
        "identity_provider": None,
        "last_login": None,
        "name": it.name or None,
        "sms_number": None,
        "suspended_at": None,
        "two_factor_authentication": False,
        "updated_at": moment(it.created_at),
        "verified": True,
        "oriel": {"active": it.active, "owner": it.owner},
    }


def collaborator(it: Member, app_id: str, app_name: str) -> Json:
    """Somebody with access to an app. Heroku's schema allows nothing beside."""
    return {
        "app": {"id": app_id, "name": app_name},
        "created_at": moment(it.created_at),
        "id": made_id("collaborator", app_id, it.account.id),
        "permissions": [],
        "role": it.role,
        "updated_at": moment(it.created_at),
        "user": {"email": it.account.email, "federated": False, "id": it.account.id},
    }


def authorization(it: Token, owner: Account, now: datetime, secret: str | None = None) -> Json:
    """A token. Only who has its secret already, or has just made it, sees it whole."""
    left = None
    if it.expires_at is not None:
        left = max(0, math.ceil((it.expires_at - now).total_seconds()))
    return {
        "access_token": {
            "expires_in": left,
            "id": it.id,
            "token": secret if secret is not None else f"oriel-{it.prefix}{MASK}",
        },
        "client": None,
        "created_at": moment(it.created_at),
        "description": it.description,
        "grant": None,
        "id": it.id,
        "refresh_token": None,
        "scope": list(it.scopes),
        "session": None,
        "updated_at": moment(it.created_at),
        "user": {"email": owner.email, "full_name": owner.name or None, "id": owner.id},
    }


def log_session(it: LogSession) -> Json:
    """A log session: the URL is the permission."""
    return {
        "created_at": moment(it.created_at),
        "id": it.id,
        "logplex_url": it.url,
        "updated_at": moment(it.created_at),
    }


def build(it: Build, app_name: str, stack_name: str, output_url: str) -> Json:
    """A build. `release` is its number: the id of it is in the release list."""
    ended = it.finished_at or it.created_at
    return {
        "app": {"id": it.app_id, "name": app_name},
        "buildpacks": None,
        "created_at": moment(it.created_at),
        "generation": "cedar",
        "id": it.id,
        "message": it.message,
        "output_stream_url": output_url,
        "release": {"version": it.release} if it.release else None,
        "slug": {"id": it.slug_id} if it.slug_id else None,
        "source_blob": {
            "checksum": None,
            "url": "",
            "version": it.commit,
            "version_description": None,
        },
        "stack": stack_name,
        "status": it.status,
        "updated_at": moment(ended),
        "user": {"email": it.by_email, "id": it.by_id},
        "oriel": {
            "at": exact(it.created_at),
            "finished": exact(it.finished_at) if it.finished_at else None,
        },
    }


def changes(it: Diff) -> Json:
    """What changed from one release to another."""
    return {
        "commits": _change(it.commits) if it.commits else None,
        "config": _differences(it.config),
        "process_types": _differences(it.process_types),
    }


def _differences(it: Differences) -> Json:
    return {
        "added": dict(it.added),
        "changed": {key: _change(pair) for key, pair in it.changed.items()},
        "removed": dict(it.removed),
    }


def _change(it: Changed) -> Json:
    return {"after": it.after, "before": it.before}


def verification(it: Report) -> Json:
    """What checking an app's ledger found."""
    return {"ok": it.ok, "problems": list(it.problems), "releases": it.releases}


def config(values: Mapping[str, str]) -> Json:
    """Config vars: a flat object, nothing beside."""
    return dict(values)
