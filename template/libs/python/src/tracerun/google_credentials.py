"""Google's credentials for the export: the service account's on Cloud Run, the developer's elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.auth.transport.requests import AuthorizedSession, Request
from opentelemetry.gcp_credential_provider import create_google_authorized_session, create_google_grpc_credentials

if TYPE_CHECKING:
    import grpc
    import requests


def session() -> requests.Session:
    """Return a session that signs its requests. Raises `GoogleAuthError` where there are no credentials.

    The first token is fetched now, while nobody waits for it. One that is about to expire is renewed beside the
    requests: it is good for some minutes still (https://cloud.google.com/run/docs/securing/service-identity).
    """
    authorized = cast("AuthorizedSession", create_google_authorized_session())
    authorized.credentials.with_non_blocking_refresh()
    authorized.credentials.refresh(Request())
    return authorized


def channel_credentials() -> grpc.ChannelCredentials:
    """Return credentials that sign every call on a TLS channel. Raises as `session` does."""
    return create_google_grpc_credentials()
