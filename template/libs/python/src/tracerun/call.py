"""One outgoing call: its tries, each in a CLIENT span, in the time that there is.

Written once for both of httpx's clients: see `Wire`.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

import httpx

from tracerun.caller_limits import REQUEST_ATTEMPT, REQUEST_TIMEOUT, limits_in
from tracerun.client_span import ClientSpan
from tracerun.private_callees import FETCH_LIMIT, IdTokenError, IdTokenTimeout, authorize
from tracerun.retries import Tries
from tracerun.time_limit import TimeLimit

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tracerun.id_tokens import TokenSource
    from tracerun.private_callees import PrivateCallees

_T = TypeVar("_T")


class Wire(Protocol):
    """What a call waits for. Of `httpx.Client`'s none suspends: its methods block, so a call runs through at once."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send `request` by the inner transport."""

    async def close(self, response: httpx.Response) -> None:
        """Give `response` up."""

    async def sleep(self, seconds: float) -> None:
        """Pause."""

    async def result(self, future: Future[_T], seconds: float) -> _T:
        """Return the future's result; raises `TimeoutError` after `seconds`."""


async def call(request: httpx.Request, wire: Wire, callees: PrivateCallees) -> httpx.Response:
    """Return the answer to `request`, or raise what httpx raises."""
    caller = limits_in()
    limit = TimeLimit(request, caller.deadline)
    tries = Tries(request, caller.attempt)
    while True:
        sent = _copy(request, limit, tries)
        span = ClientSpan(sent, tries.resent)
        source, token = None, None
        try:
            limit.check()
            source = callees.source_for(request)
            if source is not None:
                token = source.valid() or await _fetched(source, wire, limit, request)
                authorize(sent.headers, token)
            _tell_limits(sent.headers, limit, tries)
            response = await wire.send(sent)
        except BaseException as error:
            span.fail(error)
            pause = tries.pause_after(error, limit)
            if pause is None:
                raise
        else:
            span.responded(response, limit.check)
            if token is not None and source is not None and _is_refused(response) and source.refused(token):
                pause = 0.0 if tries.renewed() else None
            else:
                pause = tries.pause_after(response, limit)
            if pause is None:
                return response
            await wire.close(response)
        await wire.sleep(pause)


def _copy(request: httpx.Request, limit: TimeLimit, tries: Tries) -> httpx.Request:
    """Return the request that a try sends: `request` stays free of tokens and of what belongs to one try."""
    copy = httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=request.stream,
        extensions=limit.extensions(again=tries.resent > 0),
    )
    if isinstance(request.stream, httpx.ByteStream):
        copy.read()
    return copy


def _tell_limits(headers: httpx.Headers, limit: TimeLimit, tries: Tries) -> None:
    left = limit.left()
    _set(headers, REQUEST_TIMEOUT, None if left == math.inf else math.ceil(left * 1000))
    _set(headers, REQUEST_ATTEMPT, tries.attempt if tries.attempt > 1 else None)


def _set(headers: httpx.Headers, name: str, value: int | None) -> None:
    if value is not None:
        headers[name] = str(value)
    elif name in headers:  # from elsewhere: an app may pass on all headers that it got
        del headers[name]


async def _fetched(source: TokenSource, wire: Wire, limit: TimeLimit, request: httpx.Request) -> str:
    seconds = min(limit.left(), FETCH_LIMIT)
    try:
        answer = await wire.result(source.coming(), seconds)
    except TimeoutError:
        raise IdTokenTimeout(
            f"no ID token for {source.audience}: the metadata server did not answer within {seconds:.1f} s, the time "
            "that this request has; give it a longer time-out, or see why that server is slow",
            request=request,
        ) from None
    if isinstance(answer, Exception):
        raise IdTokenError(f"no ID token for {source.audience}: {answer}", request=request)
    return answer.text


def _is_refused(response: httpx.Response) -> bool:
    return response.status_code == HTTPStatus.UNAUTHORIZED
