"""Names and attributes of HTTP spans, by the stable semantic conventions.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/. No query strings and no headers: both carry secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.trace import Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.trace import Span

REQUEST_METHOD: Final = "http.request.method"
REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
RESPONSE_STATUS_CODE: Final = "http.response.status_code"
ROUTE: Final = "http.route"
ERROR_TYPE: Final = "error.type"
NETWORK_PROTOCOL_NAME: Final = "network.protocol.name"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
URL_FULL: Final = "url.full"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"

KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"},
)
OTHER_METHOD: Final = "_OTHER"

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def known_method(method: str) -> str:
    """Return `method`, or `_OTHER` for one that no standard names: it is the caller's text, and unbounded."""
    return method if method in KNOWN_METHODS else OTHER_METHOD


def span_name(method: str, route: str | None = None) -> str:
    """Return the name of a span: `GET /items/{id}`, `GET` without a route, `HTTP` for an unknown method."""
    verb = "HTTP" if method == OTHER_METHOD else method
    return f"{verb} {route}" if route else verb


def set_failure(span: Span, error_type: str) -> None:
    """Mark `span` as failed."""
    span.set_attribute(ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


def type_name(error: BaseException) -> str:
    """Return the class of `error` with its module, bare for built-in ones."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
