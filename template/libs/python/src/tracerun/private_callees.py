"""Which requests carry an ID token: those to `TRACERUN_PRIVATE_CALLEES`, and no other.

The token is on the one request that is sent, never on the one that httpx hands over: httpx copies the headers of that
when it follows a redirect.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING, Final

import httpx

from tracerun.http_names import DEFAULT_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracerun.id_tokens import TokenSource

    Origin = tuple[str, str, int | None]

SERVERLESS_AUTHORIZATION: Final = "X-Serverless-Authorization"
"""Cloud Run prefers it to `Authorization`, which stays the app's:
https://cloud.google.com/run/docs/authenticating/service-to-service."""
FETCH_LIMIT: Final = 10.0
"""Seconds after which a fetch that has not ended is given up; so nobody waits longer."""

_log = logging.getLogger(__name__)


class IdTokenError(httpx.TransportError):
    """There is no ID token for a private callee, so the request was not sent."""


class IdTokenTimeout(IdTokenError, httpx.TimeoutException):  # noqa: N818 (httpx's own time-outs are named so)
    """The ID token did not come within the request's time."""


class PrivateCallees:
    """The callees that ask for ID tokens."""

    def __init__(self, urls: Iterable[str]) -> None:
        """`urls` are the audiences; one that is no URL is reported in a WARNING."""
        self._sources: dict[Origin, TokenSource] = {}
        for text in urls:
            url = _url(text)
            if url is None:
                _log.warning("TRACERUN_PRIVATE_CALLEES must be URLs, got %r; it is left out", text)
            else:
                from tracerun.id_tokens import token_source  # noqa: PLC0415 (only where it is needed)

                self._sources.setdefault(_origin(url), token_source(text))

    def source_for(self, request: httpx.Request) -> TokenSource | None:
        """Return where the token of `request` comes from, None if it needs none or brings one.

        Raises `IdTokenError` where a token would be readable on its way.
        """
        source = self._sources.get(_origin(request.url)) if self._sources else None
        if source is None or SERVERLESS_AUTHORIZATION in request.headers:
            return None
        if request.url.scheme != "https" and not _is_loopback(request.url.host):
            raise IdTokenError(
                f"no ID token for {source.audience}: it would travel in plain text; use https", request=request
            )
        return source


def authorize(headers: httpx.Headers, token: str) -> None:
    """Add `token` to `headers`."""
    headers[SERVERLESS_AUTHORIZATION if "Authorization" in headers else "Authorization"] = f"Bearer {token}"


def _url(text: str) -> httpx.URL | None:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None
    return url if url.scheme in DEFAULT_PORTS and url.host else None


def _origin(url: httpx.URL) -> Origin:
    return url.scheme, url.host, url.port or DEFAULT_PORTS.get(url.scheme)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
