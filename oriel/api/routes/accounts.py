"""Owns the doors to accounts: setting up, logging in, tokens, users and invitations."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import auth, representations
from oriel.api.doors import Call, Door, identified, reply
from oriel.control import accounts
from oriel.control.accounts import Invited, Login
from oriel.lexicon import Actor


async def show(call: Call) -> Response:
    """The caller's account."""
    return reply(representations.account(call.me.account))


async def setup(call: Call) -> Response:
    """Make the owner of this installation, with the token that `oriel up` wrote."""
    body = call.body
    token, email, password = body.text("token"), body.text("email"), body.text("password")
    made = await accounts.setup(call.world, token, email, password)
    return reply(representations.account(made), 201)


async def accept(call: Call) -> Response:
    """Choose a password with an invitation."""
    token, password = call.body.text("token"), call.body.text("password")
    made = await accounts.accept_invitation(call.world, token, password)
    return reply(representations.account(made), 201)


async def authorize(call: Call) -> Response:
    """A new token: by address and password (Basic), or by a token there is already."""
    body = call.body
    description = body.optional_text("description") or ""
    lives_s = body.optional_number("expires_in")
    scopes = tuple(body.optional_texts("scope") or ())
    auth.check_scopes(scopes)
    credentials = auth.read(call.request.headers.get("authorization"))
    if credentials is None:
        raise auth.nobody()
    if credentials.user is not None and "@" in credentials.user:
        made = await accounts.log_in(
            call.world,
            credentials.user,
            credentials.secret,
            description=description,
            expires_in_s=lives_s,
            address=call.address,
        )
    else:
        login = await identified(call.world, call.request)
        actor = Actor(login.account.id, login.account.email, "api", call.request_id)
        made = await accounts.create_token(call.world, actor, description, scopes, lives_s)
    return reply(_whole(call, made), 201)


async def authorizations(call: Call) -> Response:
    """The caller's tokens. The one that the call came with is shown whole: the caller has it."""
    me = call.me
    now = call.world.clock.wall()
    return reply(
        [
            representations.authorization(
                each, me.account, now, me.secret if each.id == me.token.id else None
            )
            for each in await accounts.list_tokens(call.world, call.actor)
        ]
    )


async def authorization(call: Call) -> Response:
    """One of them. `~` would be an account's API key, of which there is none here."""
    me, wanted = call.me, call.path("id")
    for each in await accounts.list_tokens(call.world, call.actor):
        if each.id == wanted:
            secret = me.secret if each.id == me.token.id else None
            now = call.world.clock.wall()
            return reply(representations.authorization(each, me.account, now, secret))
    raise faults.NotFound("Couldn't find that authorization.", resource="authorization")


async def revoke(call: Call) -> Response:
    """Make a token worthless."""
    if call.path("id") == "~":
        raise faults.NotFound("Couldn't find that authorization.", resource="authorization")
    gone = await accounts.revoke_token(call.world, call.actor, call.path("id"))
    now = call.world.clock.wall()
    return reply(representations.authorization(gone, call.me.account, now))


async def end_session(call: Call) -> Response:
    """Sessions are what Heroku's dashboard has; the command line asks before it revokes."""
    raise faults.NotFound("Couldn't find that session.", resource="session")


async def users(call: Call) -> Response:
    """Everybody who has an account."""
    found = await accounts.users(call.world, call.actor)
    return reply([representations.account(each) for each in found])


async def add_user(call: Call) -> Response:
    """Invite somebody."""
    invited = await accounts.add_user(call.world, call.actor, call.body.text("email"))
    return reply(_invitation(invited), 201)


async def reset_user(call: Call) -> Response:
    """Invite somebody again, who lost the password."""
    invited = await accounts.reset_user(call.world, call.actor, call.path("email"))
    return reply(_invitation(invited), 201)


async def remove_user(call: Call) -> Response:
    """Take an account away."""
    gone = await accounts.remove_user(call.world, call.actor, call.path("email"))
    return reply(representations.account(gone))


def _whole(call: Call, made: Login) -> representations.Json:
    now = call.world.clock.wall()
    return representations.authorization(made.token, made.account, now, made.secret)


def _invitation(invited: Invited) -> representations.Json:
    return {**representations.account(invited.account), "invitation": invited.secret}


DOORS = (
    Door("GET", "/account", show),
    Door("GET", "/users/~", show),
    Door("POST", "/oriel/setup", setup, open=True),
    Door("POST", "/oriel/invitations", accept, open=True),
    Door("GET", "/oauth/authorizations", authorizations),
    Door("POST", "/oauth/authorizations", authorize, open=True),
    Door("GET", "/oauth/authorizations/{id}", authorization),
    Door("DELETE", "/oauth/authorizations/{id}", revoke),
    Door("DELETE", "/oauth/sessions/~", end_session),
    Door("GET", "/oriel/users", users),
    Door("POST", "/oriel/users", add_user),
    Door("DELETE", "/oriel/users/{email}", remove_user),
    Door("POST", "/oriel/users/{email}/actions/reset", reset_user),
)
