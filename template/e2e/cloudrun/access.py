"""Who may call a service: what its front end refuses before any instance hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloudrun.identity import BadToken
from cloudrun.rules import ID_TOKEN, INGRESS, INVOKER, SERVERLESS_AUTHORIZATION, SIGNATURE_REMOVED, imitates

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cloudrun.identity import IdTokens
    from cloudrun.topology import Service
    from cloudrun.trace_headers import Headers

_SERVERLESS: Final = b"x-serverless-authorization"
_AUTHORIZATION: Final = b"authorization"
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_REMOVED: Final = b"SIGNATURE_REMOVED_BY_GOOGLE"


@dataclass(frozen=True)
class Refusal:
    """The platform's own answer to a request."""

    status: int
    reason: str


class Access:
    """The checks of one service.

    Reports differ on requests without any token (https://github.com/datacommonsorg/docsite/pull/463 saw 403): they are
    answered with 401 here. What the platform does with tokens that are sent to a public service has no source: here
    they pass unchanged.
    """

    def __init__(
        self, service: Service, tokens: IdTokens, invokers: Collection[str], audiences: Callable[[], list[str]]
    ) -> None:
        """Take the email addresses of the invokers, and what gives the URLs of the service."""
        self._service = service
        self._tokens = tokens
        self._invokers = invokers
        self._audiences = audiences

    @imitates(INGRESS)
    def check(self, headers: Headers, *, outside: bool) -> Headers | Refusal:
        """Return the headers that the container sees, or why it sees none; `outside`: not from the VPC network."""
        if outside and self._service.ingress == "internal":
            return Refusal(
                _NOT_FOUND, f"{self._service.name} has ingress: internal: only services of this system reach it"
            )
        return self._check_token(headers) if self._service.access == "private" else headers

    @imitates(ID_TOKEN, INVOKER, SERVERLESS_AUTHORIZATION)
    def _check_token(self, headers: Headers) -> Headers | Refusal:
        found = [value for name, value in headers if name == _SERVERLESS]
        checked = _SERVERLESS if found else _AUTHORIZATION
        found = found or [value for name, value in headers if name == _AUTHORIZATION]
        where = checked.decode().title()
        if len(found) != 1:
            what = f"{where} stands {len(found)} times" if found else "it has no ID token"
            return Refusal(_UNAUTHENTICATED, f"the request was not authenticated: {what}")
        scheme, _, token = found[0].partition(b" ")
        if scheme.lower() != b"bearer":
            return Refusal(_UNAUTHENTICATED, f"the request was not authenticated: {where} is no Bearer ID_TOKEN")
        try:
            email = self._tokens.email_in(token.strip().decode("latin-1"), self._audiences())
        except BadToken as error:
            return Refusal(_UNAUTHENTICATED, f"the request was not authenticated: bad ID token: {error}")
        if email not in self._invokers:
            return Refusal(
                _FORBIDDEN, f"{email} may not invoke {self._service.name}: no service of that account calls it"
            )
        return [(name, _without_signature(value) if name == checked else value) for name, value in headers]


@imitates(SIGNATURE_REMOVED)
def _without_signature(value: bytes) -> bytes:
    return value.rpartition(b".")[0] + b"." + _REMOVED
