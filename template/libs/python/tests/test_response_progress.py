from __future__ import annotations

from typing import Any

import pytest

from tracerun.response_progress import ResponseProgress


def start(status: int = 200, length: int | None = None, *, trailers: bool = False) -> dict[str, Any]:
    headers = [] if length is None else [(b"Content-Length", str(length).encode())]
    return {"type": "http.response.start", "status": status, "headers": headers, "trailers": trailers}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


TRAILERS = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(
    ("method", "messages", "completing"),
    [
        ("GET", [start(), body(b"all")], 1),
        ("GET", [start(length=3), body(b"all")], 1),
        ("GET", [start(), body(b"a", more=True), body(b"b", more=True), body()], 3),
        ("GET", [start(length=2), body(b"a", more=True), body(b"b", more=True), body()], 2),
        ("GET", [start(length=0), body()], 0),
        ("GET", [start(204), body()], 0),
        ("GET", [start(304), body()], 0),
        ("HEAD", [start(length=100), body()], 0),
        ("GET", [start(trailers=True), body(b"all"), TRAILERS], 2),
        ("GET", [start(), {"type": "http.response.pathsend", "path": "/file"}], 1),
    ],
)
def test_the_completing_message_is_the_one_after_which_the_client_has_everything(
    method: str, messages: list[dict[str, Any]], completing: int
) -> None:
    progress = ResponseProgress(method)
    answers = [progress.completes(message) for message in messages[: completing + 1]]
    assert answers == [False] * completing + [True]
