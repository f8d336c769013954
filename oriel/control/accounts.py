"""Owns who people are: setting up, logging in and out, tokens, users and invitations.

Must not know what an account may do to an app; `access` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from oriel import faults
from oriel.clock import new_secret
from oriel.control import record
from oriel.control.world import World
from oriel.ledger import apps
from oriel.lexicon import Actor, Email
from oriel.people import Account, Token, accounts, invitations, passwords, tokens
from oriel.people import setup as setup_token

TOKEN_LIVES_MAX_S = 10 * 365 * 86400


@dataclass(frozen=True, slots=True)
class Login:
    """An account, and a token of it with its secret."""

    account: Account
    token: Token
    secret: str


@dataclass(frozen=True, slots=True)
class Invited:
    """An account that may choose its password with `secret`, once."""

    account: Account
    secret: str


def setup_path(world: World) -> Path:
    """The file with the one-time setup token."""
    return world.settings.data / "setup-token"


async def prepare_setup(world: World) -> None:
    """Write the setup token, while there is no owner yet."""
    if not await world.db.read(accounts.all) and not setup_path(world).exists():
        setup_token.write_token(setup_path(world), new_secret())


async def setup(world: World, token: str, email: str, password: str) -> Account:
    """Make the installation's owner, with the token that `oriel up` wrote."""
    if await world.db.read(accounts.all):
        raise faults.Conflict("This Oriel has its owner already.", hint="Log in with: oriel login")
    if not setup_token.matches(setup_path(world), token):
        raise faults.Forbidden(
            "That is not the setup token.",
            hint=f"It is in {setup_path(world)} on the server.",
        )
    checked = Email(email)
    hashed = await _hashed(world, password)

    def work(conn: Connection) -> Account:
        account = accounts.create_owner(conn, checked, hashed, world.clock.wall())
        actor = Actor(account.id, account.email, "api")
        record.act(conn, world, actor, None, "setup", {"email": account.email})
        return account

    account = await world.db.write(work)
    setup_path(world).unlink(missing_ok=True)
    return account


async def log_in(
    world: World,
    email: str,
    password: str,
    *,
    description: str,
    expires_in_s: int | None,
    address: str,
) -> Login:
    """A new token for whoever knows the password. Unauthorized; TooMany after many failures."""
    keys = (f"login {email.lower()[:254]}", f"from {address}")
    for key in keys:
        _throttled(world, key)
    kept = await world.db.read(lambda conn: accounts.password_hash(conn, email.lower()))
    async with world.hashes:
        # An unknown address costs as much as a wrong password, and answers the same.
        right = await asyncio.to_thread(passwords.verify, password, kept or passwords.DUMMY)
    if not (kept and right):
        for key in keys:
            world.throttle.record_failure(key, world.clock.monotonic_s())
        raise faults.Unauthorized(
            "E-mail address or password is wrong.", hint="Try again with: oriel login"
        )

    world.throttle.record_success(keys[0])

    def work(conn: Connection) -> Login:
        account = accounts.by_email(conn, Email(email))
        actor = Actor(account.id, account.email, "api")
        return _mint(conn, world, actor, account, description, ("global",), expires_in_s)

    return await world.db.write(work)


async def identify(world: World, secret: str) -> Login | None:
    """Whose token that is; None when nobody's, or no longer."""
    now = world.clock.wall()
    found = await world.db.read(lambda conn: tokens.resolve(conn, secret, now))
    if found is None:
        return None
    if tokens.use_is_news(found[1], now):
        # A disk that is full must not keep people from looking.
        with contextlib.suppress(faults.Unavailable):
            await world.db.write(lambda conn: tokens.note_use(conn, found[1], now))
    return Login(found[0], found[1], secret)


async def account(world: World, actor: Actor) -> Account:
    """The actor's own account."""
    return await world.db.read(lambda conn: accounts.by_id(conn, actor.account_id))


async def list_tokens(world: World, actor: Actor) -> list[Token]:
    """The actor's tokens; their secrets are not known any more."""
    return await world.db.read(lambda conn: tokens.of(conn, actor.account_id))


async def create_token(
    world: World,
    actor: Actor,
    description: str,
    scopes: Sequence[str],
    expires_in_s: int | None,
) -> Login:
    """Another token for the actor."""

    def work(conn: Connection) -> Login:
        mine = accounts.by_id(conn, actor.account_id)
        kept = tuple(scopes) or ("global",)
        return _mint(conn, world, actor, mine, description, kept, expires_in_s)

    return await world.db.write(work)


async def revoke_token(world: World, actor: Actor, token_id: str) -> Token:
    """Make a token of the actor's worthless from now on."""

    def work(conn: Connection) -> Token:
        token = tokens.by_id(conn, actor.account_id, token_id)
        tokens.revoke(conn, actor.account_id, token_id, world.clock.wall())
        record.act(conn, world, actor, None, "tokens:revoke", {"token": token_id})
        return token

    return await world.db.write(work)


async def log_out(world: World, actor: Actor, token_id: str) -> None:
    """Revoke the token that the actor came with."""
    await revoke_token(world, actor, token_id)


async def users(world: World, actor: Actor) -> list[Account]:
    """Everybody who has an account here. Every account may see that: they share apps."""
    return await world.db.read(accounts.all)


async def add_user(world: World, actor: Actor, email: str) -> Invited:
    """Invite somebody; only the owner may. The secret is for that person, once."""

    def work(conn: Connection) -> Invited:
        _owner(conn, actor)
        now = world.clock.wall()
        invited, secret = invitations.invite(conn, Email(email), actor.email, now)
        record.act(conn, world, actor, None, "users:add", {"email": invited.email})
        return Invited(invited, secret)

    return await world.db.write(work)


async def reset_user(world: World, actor: Actor, email: str) -> Invited:
    """A fresh invitation for somebody who lost the password; the old one stops working."""

    def work(conn: Connection) -> Invited:
        _owner(conn, actor)
        found = accounts.by_email(conn, Email(email))
        secret = invitations.reset(conn, found.id, actor.email, world.clock.wall())
        record.act(conn, world, actor, None, "users:reset", {"email": found.email})
        return Invited(found, secret)

    return await world.db.write(work)


async def remove_user(world: World, actor: Actor, email: str) -> Account:
    """Take an account away, with its tokens and its access to apps."""

    def work(conn: Connection) -> Account:
        _owner(conn, actor)
        found = accounts.by_email(conn, Email(email))
        if found.owner:
            raise faults.Invalid(f"{found.email} owns this Oriel and cannot be removed.")
        owned = [app.name for app in apps.all(conn) if app.owner_id == found.id]
        if owned:
            raise faults.Conflict(
                f"{found.email} owns {', '.join(owned)}.",
                hint="Its owner must destroy an app first.",
            )
        accounts.remove(conn, found.id, world.clock.wall())
        record.act(conn, world, actor, None, "users:remove", {"email": found.email})
        return found

    return await world.db.write(work)


async def accept_invitation(world: World, secret: str, password: str) -> Account:
    """Choose a password with an invitation: 256 random bits, once, for a week."""
    hashed = await _hashed(world, password)

    def work(conn: Connection) -> Account:
        accepted = invitations.accept(conn, secret, hashed, world.clock.wall())
        actor = Actor(accepted.id, accepted.email, "api")
        record.act(conn, world, actor, None, "users:accept", {"email": accepted.email})
        return accepted

    return await world.db.write(work)


def _mint(
    conn: Connection,
    world: World,
    actor: Actor,
    account: Account,
    description: str,
    scopes: tuple[str, ...],
    expires_in_s: int | None,
) -> Login:
    now = world.clock.wall()
    expires_at: datetime | None = None
    if expires_in_s is not None:
        if not 0 < expires_in_s <= TOKEN_LIVES_MAX_S:
            raise faults.Invalid(f"A token cannot live for {expires_in_s} s: use 1 s to 10 years.")
        expires_at = now + timedelta(seconds=expires_in_s)
    token, secret = tokens.mint(conn, account.id, description[:200], scopes, expires_at, now)
    record.act(conn, world, actor, None, "tokens:create", {"token": token.id})
    return Login(account, token, secret)


async def _hashed(world: World, password: str) -> str:
    passwords.check_strength(password)
    async with world.hashes:
        return await asyncio.to_thread(passwords.hash_password, password)


def _throttled(world: World, key: str) -> None:
    wait_s = world.throttle.wait_s(key, world.clock.monotonic_s())
    if wait_s > 0:
        raise faults.TooMany(f"Too many failures. Try again in {wait_s:.0f} s.")


def _owner(conn: Connection, actor: Actor) -> None:
    if not accounts.by_id(conn, actor.account_id).owner:
        raise faults.Forbidden("Only the owner of this Oriel may manage its users.")
