"""Owns the conversation with a certificate authority, by certbot's own library in threads.

The room's one shell. Each call does one step and keeps nothing that is not asked for again: an
order is known by its URL, the account by its key. Must not know what is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from oriel.certificates.machine import Begun, Refused, Told, Undecided

CALL_S = 30
"""How long one request may take; a step makes a few."""

STEP_S = 120.0
REASON_MAX = 300
NONCES_MAX = 5

_log = logging.getLogger("oriel.certificates")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the authority will ask the host for, and what is to be answered."""

    token: str
    answer: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A chain (PEM), as the authority sent it."""

    chain: str


class _Fails(Exception):
    """An end that is a Refused."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


def new_key() -> str:
    """A private key (PEM) for a certificate or an account."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def request_for(host: str, key: str) -> bytes:
    """A signing request (PEM) for one host."""
    private = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.add_extension(names, critical=False).sign(private, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


class Issuer:
    """One account at one authority."""

    def __init__(self, directory: str, account_key: str, ca: str | None = None) -> None:
        """`ca` is a file of roots to trust instead of the usual ones. Touches nothing yet."""
        self._directory = directory
        self._key = account_key
        self._ca = ca
        self._made: Any = None
        self._turn = asyncio.Lock()
        self._retry_after = ("", "")

    async def begin(self, host: str, key: str) -> tuple[Begun, Challenge | None] | Refused:
        """Order a certificate for `host`; no challenge: the authority knows the host already."""

        def work() -> tuple[Begun, Challenge | None]:
            client = self._client()
            order = client.new_order(request_for(host, key))
            return Begun(str(order.uri)), self._challenge(order.authorizations)

        return await self._step(work)

    async def tell(self, url: str) -> Told | Refused:
        """The challenge is answered for: the authority may look."""

        def work() -> Told:
            from acme import challenges, messages

            client = self._client()
            for authorization in self._authorizations(self._order(url)):
                body = authorization.body
                if body.status != messages.STATUS_PENDING:
                    continue
                for each in body.challenges:
                    if isinstance(each.chall, challenges.HTTP01):
                        client.answer_challenge(each, each.response(client.net.key))
            return Told()

        return await self._step(work)

    async def look(self, url: str, host: str, key: str) -> Issued | Undecided | Refused:
        """What the authority has decided; asks for the certificate where it may."""

        def work() -> Issued | Undecided:
            from acme import messages

            client = self._client()
            order = self._order(url)
            if order.status == messages.STATUS_READY:
                resource = messages.OrderResource(
                    body=order, uri=url, csr_pem=request_for(host, key)
                )
                order = client.begin_finalization(resource).body
            if order.status == messages.STATUS_VALID and order.certificate:
                return Issued(self._get(order.certificate).text)
            if order.status == messages.STATUS_INVALID:
                raise _Fails(Refused(self._why(order)))
            return Undecided()

        return await self._step(work)

    async def _step(self, work: Callable[[], T]) -> T | Refused:
        """One step in a thread, its failures as values; one at a time, as the library needs."""
        async with self._turn:
            return await self._alone(work)

    async def _alone(self, work: Callable[[], T]) -> T | Refused:
        self._retry_after = ("", "")
        try:
            async with asyncio.timeout(STEP_S):
                return await asyncio.to_thread(_again, work)
        except TimeoutError:
            # Its thread may still be at it: the next step has a client of its own.
            self._made = None
            return Refused(f"the authority took more than {STEP_S:.0f} s", away=True)
        except _Fails as end:
            return end.refused
        except Exception as error:
            # The library has no one class for what can go wrong with another's server.
            self._made = None
            return self._refused(error)

    def _client(self) -> Any:
        """The library's client, with an account; one for all calls while it works."""
        if self._made is not None:
            return self._made
        from acme import client, errors, messages
        from josepy import jwa, jwk

        private = serialization.load_pem_private_key(self._key.encode(), None)
        net = client.ClientNetwork(
            jwk.JWKEC(key=private), alg=jwa.ES256, user_agent="oriel", timeout=CALL_S
        )
        net.session.hooks["response"].append(self._note)
        net.session.trust_env = True
        if self._ca:
            net.verify_ssl = self._ca  # type: ignore[assignment]  # requests takes a file too
        made = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net)
        wanted = messages.NewRegistration(terms_of_service_agreed=True)
        try:
            made.new_account(wanted)
        except errors.ConflictError as known:
            net.account = messages.RegistrationResource(
                body=messages.Registration(), uri=known.location
            )
        self._made = made
        return made

    def _note(self, response: Any, *_: Any, **__: Any) -> None:
        """How long the authority wants to be left alone."""
        wanted = response.headers.get("Retry-After", "") if not response.ok else ""
        self._retry_after = (wanted, response.headers.get("Date", ""))

    def _get(self, url: str) -> Any:
        client = self._client()
        return client.net.post(url, None, new_nonce_url=client.directory["newNonce"])

    def _order(self, url: str) -> Any:
        from acme import messages

        return messages.Order.from_json(self._get(url).json())

    def _authorizations(self, order: Any) -> list[Any]:
        from acme import messages

        return [
            messages.AuthorizationResource(
                body=messages.Authorization.from_json(self._get(each).json()), uri=each
            )
            for each in order.authorizations
        ]

    def _challenge(self, authorizations: list[Any]) -> Challenge | None:
        from acme import challenges, messages

        key = self._client().net.key
        for authorization in authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue
            for each in authorization.body.challenges:
                if isinstance(each.chall, challenges.HTTP01):
                    token = each.chall.encode("token")
                    return Challenge(token, each.chall.key_authorization(key))
            raise _Fails(Refused("the authority does not offer HTTP-01 for it"))
        return None

    def _why(self, order: Any) -> str:
        """What the authority found: the challenge's own error says most."""
        for authorization in self._authorizations(order):
            for each in authorization.body.challenges:
                if each.error is not None:
                    return _plain(each.error.detail or str(each.error))
        return _plain(order.error.detail) if order.error else "the authority gave no reason"

    def _refused(self, error: Exception) -> Refused:
        from acme import errors, messages
        from requests import exceptions

        if isinstance(error, messages.Error):
            said = _plain(error.detail or error.code or "no reason given")
            limited = error.code == "rateLimited"
            lost = error.code in ("malformed", "unauthorized") and "order" in said.lower()
            return Refused(said, self._wait(), limited=limited, lost=lost)
        if isinstance(error, exceptions.SSLError):
            return Refused(f"the certificate of {self._directory} is not trusted")
        if isinstance(error, exceptions.RequestException):
            said = f"{self._directory} cannot be reached ({type(error).__name__})"
            return Refused(said, away=True)
        if isinstance(error, errors.ClientError):
            status = getattr(error.args[0] if error.args else None, "status_code", None)
            return Refused(
                f"the authority answers {status}" if status else "the authority answers nonsense",
                self._wait(),
                limited=status in (429, 503),
                lost=status == 404,
                away=status in (500, 502, 504),
            )
        _log.exception("a step with %s failed", self._directory)
        return Refused(f"the conversation with the authority broke off ({type(error).__name__})")

    def _wait(self) -> timedelta | None:
        """The Retry-After of the last answer: seconds, or a date."""
        text, sent = self._retry_after
        if text.isascii() and text.isdigit():
            return timedelta(seconds=int(text[:9]))
        try:
            return max(timedelta(), parsedate_to_datetime(text) - parsedate_to_datetime(sent))
        except (ValueError, TypeError):
            return None


def _again(work: Callable[[], T]) -> T:
    """Do it, and do it again for a nonce that was refused: those cost nothing and mean nothing."""
    from acme import messages

    for _ in range(NONCES_MAX):
        try:
            return work()
        except messages.Error as error:
            if error.code != "badNonce":
                raise
    return work()


def _plain(text: str) -> str:
    """A text from outside, made safe and short for a log line."""
    return "".join(each if each.isprintable() else " " for each in text)[:REASON_MAX]
