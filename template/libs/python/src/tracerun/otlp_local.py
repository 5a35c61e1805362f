"""Exports over OTLP/HTTP to this instance's own collector: no TLS, no proxy, no credentials.

A seventh of the CPU time of the official exporter, which serves for all else, and none of its imports.
"""

from __future__ import annotations

import http.client
import logging
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.util.re import parse_env_headers

from tracerun.otlp import TIMEOUT, Answer, Outcome, answer_of, variable
from tracerun.otlp_encoding import encode
from tracerun.quiet import once_per_minute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.otlp import Export

_log = logging.getLogger(__name__)
once_per_minute(__name__)

_DEFAULT: Final = "http://localhost:4318"
_PATH: Final = "/v1/traces"
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_ANSWER: Final = 1 << 16
_HUNG_UP: Final = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


def otlp_local(timeout: float = TIMEOUT) -> Export | None:
    """Return an export to the end point of the environment, or None where that is no plain one of this machine.

    `timeout` is in seconds.
    """
    try:
        parts = urlsplit(_url())
        port = parts.port or http.client.HTTP_PORT
    except ValueError:  # the official exporter says what is wrong with it
        return None
    plain = parts.scheme == "http" and parts.hostname in _HOSTS and parts.username is None
    if not plain or parts.hostname is None or variable("COMPRESSION") not in {"", "none"}:
        return None
    post = _Post(parts.hostname, port, urlunsplit(("", "", parts.path or "/", parts.query, "")), timeout)
    official: Export | None = None

    def export(spans: Sequence[ReadableSpan]) -> Answer:
        nonlocal official
        try:
            body = encode(spans)
        except Exception:  # noqa: BLE001 (the official encoder knows what to leave out, and what can never be sent)
            from tracerun.otlp_http import otlp_http  # noqa: PLC0415 (50 ms, and hardly ever needed)

            official = official or otlp_http(signed=False, timeout=timeout)
            return official(spans)
        try:
            status, retry_after, content = post(body)
        except (OSError, http.client.HTTPException) as error:
            _log.warning("an export did not arrive: %s: %s", type(error).__name__, error)
            return Answer(Outcome.FAILED)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            _log.warning("an export was answered with %d: %s", status, content[:200])
        return answer_of(status, retry_after, content, len(spans))

    return export


def _url() -> str:
    traces = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return traces or (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or _DEFAULT).rstrip("/") + _PATH


def _headers() -> Mapping[str, str]:
    return {**parse_env_headers(variable("HEADERS"), liberal=True), "content-type": "application/x-protobuf"}


class _Post:
    """Sends bodies over one connection, which it keeps."""

    def __init__(self, host: str, port: int, path: str, timeout: float) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        self._path = path
        self._headers = _headers()

    def __call__(self, body: bytes) -> tuple[int, str, bytes]:
        """Return status, Retry-After and the answer's body. Raises `OSError` and `HTTPException`."""
        kept = self._connection.sock is not None
        try:
            return self._send(body)
        except _HUNG_UP:
            if not kept:
                raise
            return self._send(body)  # the other side had closed it meanwhile

    def _send(self, body: bytes) -> tuple[int, str, bytes]:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            content = response.read(_LONGEST_ANSWER)
        except BaseException:
            self._connection.close()
            raise
        if not response.isclosed():
            self._connection.close()
        if response.length and len(content) < _LONGEST_ANSWER:
            raise http.client.IncompleteRead(content, response.length)
        return response.status, response.headers.get("retry-after", ""), content
