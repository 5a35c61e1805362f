"""The log lines of one request: what came of it, and the exception that ended it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from tracerun.http_names import type_name
from tracerun.logs import HTTP_REQUEST, TRACE_SAMPLED

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_access: Final = logging.getLogger("tracerun.access")
_errors: Final = logging.getLogger("tracerun.error")
_LOGGED: Final = "_tracerun_logged"


class RequestLog:
    """Writes one access line, with `httpRequest`; no query strings and no headers, both carry secrets.

    Cloud Run logs each request as well, but not with the final decision about its trace. `tracerun.access` and
    `tracerun.error` are the loggers.
    """

    def __init__(self, method: str, path: str, version: str) -> None:
        """Say what the request was: the path has no query, the version is that of HTTP, such as `1.1`."""
        self._method = method
        self._path = path
        self._version = version

    def ended(self, status: int, seconds: float, span: Span, error: BaseException | None, *, kept: bool) -> None:
        """Log the end of the request; `status` 0 means that there was no response, `kept` is the final decision."""
        about = {"span_context": span.get_span_context(), TRACE_SAMPLED: kept}
        if isinstance(error, Exception):
            _errors.error("%s: %s", type_name(error), error, exc_info=error, extra=about)
            _mark(error)
        if not _access.isEnabledFor(logging.INFO):
            return
        request: dict[str, Any] = {
            "requestMethod": self._method,
            "requestUrl": self._path,
            "protocol": f"HTTP/{self._version}",
            "latency": f"{seconds:.6f}s",
        }
        if status:
            request["status"] = status
        outcome = str(status) if status else "no response"
        _access.info("%s %s %s", self._method, self._path, outcome, extra={HTTP_REQUEST: request, **about})


def is_wanted(error: BaseException | None) -> bool:
    """Tell whether there is anything to log of a request that has ended, with `error` if that is not None."""
    return error is not None or _access.isEnabledFor(logging.INFO)


class NotTwice(logging.Filter):
    """Drops what a server logs of an exception that `RequestLog` has logged: late, and without the trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        return not getattr(error, _LOGGED, False)


def _mark(error: Exception) -> None:
    try:
        setattr(error, _LOGGED, True)
    except AttributeError:  # a class with slots: it is logged twice then
        return
