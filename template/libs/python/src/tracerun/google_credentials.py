"""Google's credentials for the export: the service account's on Cloud Run, the developer's elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import google.auth
import grpc
from google.auth.transport.grpc import AuthMetadataPlugin
from google.auth.transport.requests import AuthorizedSession, Request

from tracerun.untraced import untraced

if TYPE_CHECKING:
    import requests


class _UntracedRequest(Request):
    """Asks for tokens without a span, also in google-auth's own threads."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with untraced():
            return super().__call__(*args, **kwargs)  # type: ignore[no-untyped-call]


def session() -> requests.Session:
    """Return a session that signs its requests. Raises `GoogleAuthError` where there are no credentials.

    The first token is fetched now, while nobody waits for it. One that is about to expire is renewed beside the
    requests: it is good for some minutes still (https://cloud.google.com/run/docs/securing/service-identity).
    """
    credentials, _ = google.auth.default()
    _fetch_ahead(credentials)
    return AuthorizedSession(credentials, auth_request=_UntracedRequest())  # type: ignore[no-untyped-call]


def channel_credentials(root_certificates: bytes | None) -> grpc.ChannelCredentials:
    """Return credentials that sign every call on a TLS channel, as `session` does; None: the usual authorities."""
    credentials, _ = google.auth.default()
    _fetch_ahead(credentials)
    plugin = AuthMetadataPlugin(credentials, _UntracedRequest())  # type: ignore[no-untyped-call]
    return grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(root_certificates), grpc.metadata_call_credentials(plugin)
    )


def _fetch_ahead(credentials: Any) -> None:
    credentials.with_non_blocking_refresh()
    credentials.refresh(_UntracedRequest())
