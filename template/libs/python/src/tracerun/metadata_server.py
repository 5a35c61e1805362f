"""Asks the metadata server for ID tokens, by google-auth, at `GCE_METADATA_HOST` if that is set.

https://cloud.google.com/run/docs/securing/service-identity#fetching_identity_tokens
"""

from __future__ import annotations

import re
import time
from datetime import UTC
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from google.auth.compute_engine import IDTokenCredentials
from google.auth.exceptions import TransportError
from google.auth.transport.requests import Request

from tracerun.id_tokens import IdToken, NoIdToken
from tracerun.untraced import untraced

TRY_LIMIT: Final = 3.0
"""Seconds for each read and for the connection of a try."""
PAUSES: Final = (0.1, 0.4)
"""Seconds between the tries."""

_ELSEWHERE: Final = "GCE_METADATA_HOST names the server that is asked; on Cloud Run it is not set"
# Nothing else may become part of a header.
_JWT: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_LONGEST_TEXT: Final = 100


class _TryAgain(NoIdToken):
    """It may have been a moment's trouble."""


def id_token(audience: str) -> IdToken:
    """Return a token for `audience`; raises `NoIdToken`. Blocks for seconds at worst; makes no spans."""
    with untraced():
        for pause in PAUSES:
            try:
                return _ask(audience)
            except _TryAgain:
                time.sleep(pause)
        return _ask(audience)


def _ask(audience: str) -> IdToken:
    with requests.Session() as session:
        session.trust_env = False  # tokens do not pass through a proxy
        credentials: Any = IDTokenCredentials(  # type: ignore[no-untyped-call]
            None, audience, use_metadata_identity_endpoint=True
        )
        try:
            credentials.refresh(_OneTry(session))
            text, expires = credentials.token, credentials.expiry.replace(tzinfo=UTC).timestamp()
        except NoIdToken:
            raise
        except Exception:  # noqa: BLE001 (whatever it makes of garbage; its message may hold a token)
            text, expires = "", 0.0
    if not isinstance(text, str) or not _JWT.fullmatch(text):
        raise NoIdToken(f"the metadata server's answer is no ID token; {_ELSEWHERE}")
    if expires <= time.time():
        raise NoIdToken("the metadata server gave a token that has expired; set this machine's clock right")
    return IdToken.until(expires, text)


class _OneTry(Request):
    """Ends google-auth's own tries, which go on for 15 s: a request waits for the answer."""

    def __call__(self, url: str, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = TRY_LIMIT
        server = f"the metadata server ({urlsplit(url).netloc})"
        try:
            response = super().__call__(url, *args, **kwargs)  # type: ignore[no-untyped-call]
        except TransportError as error:
            raise _trouble(server, error) from None
        if response.status == HTTPStatus.OK:
            return response
        text = " ".join(response.data.decode("utf-8", "replace").split())[:_LONGEST_TEXT]
        kind = _TryAgain if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else NoIdToken
        raise kind(f"{server} answered {response.status} ({text!a}); check the service's account; {_ELSEWHERE}")


def _trouble(server: str, error: TransportError) -> NoIdToken:
    cause = error.args[0]
    if isinstance(cause, requests.Timeout):
        return NoIdToken(f"{server} did not answer within {TRY_LIMIT:g} s; {_ELSEWHERE}")
    return _TryAgain(f"{server} cannot be reached ({_reason(cause)}); {_ELSEWHERE}")


def _reason(error: BaseException) -> str:
    """Return what the system said of a connection, without the addresses and queries around it."""
    reason, at = type(error).__name__, error.__context__
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            reason = at.strerror
        at = at.__context__
    return reason
