from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from tracerun.arrivals import telling_of_arrivals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


@contextmanager
def serving(protocol: str, app: Any, arrived: Callable[[], None]) -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=protocol, log_config=None)
    config.load()
    config.http_protocol_class = telling_of_arrivals(config.http_protocol_class, arrived)
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.listening.wait(10)
        yield server.port
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_each_request_but_a_probe_is_told_of_once_before_the_app_has_it(protocol: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    with serving(protocol, app, lambda: seen.append("arrived")) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for path in ("/a", "/health", "/b"):
            connection.request("POST", path, body=iter([b"x" * 1000] * 300), encode_chunked=True)
            connection.getresponse().read()
        connection.close()
    assert seen == ["arrived", "/a", "/health", "arrived", "/b"]
