"""Tells which ASGI message completes a response for its client."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LENGTH: Final = b"content-length"
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class ResponseProgress:
    """Follows the messages of one response.

    The client has its response when `Content-Length` bytes are there, or at the last message, whichever comes first: a
    middleware may split the body and send an empty last message, and a response without a body is complete with its
    headers. https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    """

    status = 0
    """Of the response; 0 until it has begun."""
    _headers: Iterable[tuple[bytes, bytes]] = ()
    _left: int | None = None
    _trailers = False

    def __init__(self, method: str = "GET") -> None:
        """Take the request's `method`: the answer to a HEAD has no body."""
        self.method = method

    def completes(self, message: Mapping[str, Any]) -> bool:
        """Tell whether the client has its whole response once `message` is sent."""
        kind = message["type"]
        if kind == "http.response.body":
            if message.get("more_body", False) or self._trailers:
                return self._reaches_the_length(len(message.get("body", b"")))
            return True
        if kind == "http.response.start":
            return self._start(message)
        if kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        return bool(kind == "http.response.pathsend")

    def _start(self, message: Mapping[str, Any]) -> bool:
        self.status = message["status"]
        self._trailers = message.get("trailers", False)
        self._headers = message.get("headers", ())
        if self.method == "HEAD" or self.status in _BODILESS:
            return True
        for name, value in self._headers:  # noqa: SIM110 (a generator takes twice the time)
            if value == b"0" and name.lower() == _LENGTH:
                return True
        return False

    def _reaches_the_length(self, sent: int) -> bool:
        if self._left is None:
            lengths = (int(value) for name, value in self._headers if name.lower() == _LENGTH)
            self._left = next(lengths, sys.maxsize)
        self._left -= sent
        return self._left <= 0
