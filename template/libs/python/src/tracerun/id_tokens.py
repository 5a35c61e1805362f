"""ID tokens of this service's account, one an audience, fetched in a thread, kept, and renewed before they expire.

https://cloud.google.com/run/docs/authenticating/service-to-service
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from tracerun.private_callees import FETCH_LIMIT
from tracerun.quiet import once_per_minute
from tracerun.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RENEW_AHEAD: Final = 300.0
"""Seconds before its expiry from which a token is renewed: the metadata server gives out the same token until then."""
RENEW_SHARE: Final = 0.1
"""The share of a token's life that this is at most."""
RENEWALS_A_SECOND: Final = 1.0
"""Refused tokens that are renewed: an app may answer 401 for reasons of its own."""

_log = logging.getLogger(__name__)
once_per_minute(__name__)


@dataclass(frozen=True, slots=True)
class IdToken:
    """A token, and when it is good; both times in seconds since the epoch."""

    text: str = field(repr=False)
    renew_from: float
    expires: float

    @classmethod
    def until(cls, expires: float, text: str) -> IdToken:
        """Return the token `text`, given now."""
        now = time.time()
        return cls(text, expires - min(RENEW_AHEAD, (expires - now) * RENEW_SHARE), expires)


class NoIdToken(Exception):  # noqa: N818 (it is an answer, and never raised to users)
    """What the metadata server did instead of giving a token, and the cure, in one line without any of its answer."""


class TokenSource:
    """The tokens of one audience. Safe in threads."""

    def __init__(self, audience: str, fetch: Callable[[str], IdToken]) -> None:
        """`fetch` blocks, and raises `NoIdToken`."""
        self.audience = audience
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: IdToken | None = None
        self._flight: Future[IdToken | NoIdToken] | None = None
        self._flight_ends = 0.0
        self._quiet_until = 0.0
        self._renewals = TokenBucket(RENEWALS_A_SECOND)

    def valid(self) -> str | None:
        """Return the token if it is good; one that expires soon is renewed meanwhile."""
        token = self._token
        if token is None:
            return None
        now = time.time()
        if now >= token.expires:
            return None
        if now >= token.renew_from and now >= self._quiet_until:
            # A metadata server in trouble is asked ten times before the token's end, not by every request.
            self._quiet_until = now + (token.expires - token.renew_from) / 10
            self.coming()
        return token.text

    def coming(self) -> Future[IdToken | NoIdToken]:
        """Return the fetch that is under way, or begin one."""
        with self._lock:
            now = time.monotonic()
            if self._flight is not None and now < self._flight_ends:
                return self._flight
            flight: Future[IdToken | NoIdToken] = Future()
            flight.set_running_or_notify_cancel()  # nobody who stops waiting can cancel it for the others
            self._flight, self._flight_ends = flight, now + FETCH_LIMIT
        try:
            threading.Thread(target=self._fly, args=(flight,), name="id-token", daemon=True).start()
        except RuntimeError as error:
            self._land(flight, NoIdToken(f"no thread could be started to ask for it: {error}"))
        return flight

    def refused(self, text: str) -> bool:
        """Drop the token `text`, which the callee refuses, and tell whether to try another."""
        if not self._renewals.take():
            return False
        with self._lock:
            if self._token is not None and self._token.text == text:
                self._token = None
        return True

    def _fly(self, flight: Future[IdToken | NoIdToken]) -> None:
        answer: IdToken | NoIdToken
        try:
            answer = self._fetch(self.audience)
        except NoIdToken as error:
            answer = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 (somebody waits for an answer)
            answer = NoIdToken(f"it could not be asked for: {type(error).__name__}")
        self._land(flight, answer)

    def _land(self, flight: Future[IdToken | NoIdToken], answer: IdToken | NoIdToken) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
            if isinstance(answer, IdToken):
                self._token = answer
            kept = self._token
        if isinstance(answer, NoIdToken) and kept is not None and time.time() < kept.expires:
            _log.warning(
                "the ID token for %s is good for %d s more but was not renewed: %s",
                self.audience,
                kept.expires - time.time(),
                answer,
            )
        flight.set_result(answer)


@cache
def token_source(audience: str) -> TokenSource:
    """Return this process's source of tokens for `audience`."""
    return TokenSource(audience, _from_metadata_server)


def fetch_ahead(audiences: Iterable[str]) -> None:
    """Begin to fetch the tokens for `audiences`, so that the first request finds them."""
    for audience in audiences:
        token_source(audience).coming()


def _from_metadata_server(audience: str) -> IdToken:
    # google-auth costs 0.2 s of CPU time to import, so in the thread that fetches, and where there are private callees.
    from tracerun.metadata_server import id_token  # noqa: PLC0415

    return id_token(audience)
