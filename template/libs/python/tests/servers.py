"""Real HTTP servers on this machine: a callee that answers as it is told, and a stand-in for the metadata server."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from email.message import Message


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # more connections at once than its 5
    daemon_threads = True


class Server:
    """Serves in threads until the `with` block ends; `closing` is set then, for handlers that hold an answer."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):  # the client has given up
                    self.close_connection = True

        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            setattr(Handler, f"do_{method}", lambda handler: answer(handler))  # noqa: PLW0108 (becomes a method)
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@dataclass
class Received:
    method: str
    path: str
    headers: Message

    @property
    def token(self) -> str | None:
        return self.headers["Authorization"] and self.headers["Authorization"].removeprefix("Bearer ")


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drips: bool = False


class Callee(Server):
    """Gives `answers` one after the other, then 200."""

    def __init__(self, *answers: Answer) -> None:
        self.received: list[Received] = []
        self.answers = deque(answers)
        self.drops = 200
        super().__init__(self._answer)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if "chunked" in handler.headers.get("Transfer-Encoding", ""):
            while handler.rfile.readline().strip() != b"0":
                pass
            handler.rfile.readline()
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.received.append(Received(handler.command, handler.path, handler.headers))
        answer = self.answers.popleft() if self.answers else Answer()
        if answer.delay and self.closing.wait(answer.delay):
            return
        if answer.drips:
            self._drip(handler)
        else:
            send(handler, answer.status, b"{}", answer.headers)

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(self.drops))
        handler.end_headers()
        for _ in range(self.drops):
            handler.wfile.write(b".")
            if self.closing.wait(0.05):
                return


def jwt(audience: str, expires: Any, number: int = 0) -> str:
    """Return what looks like an ID token; nobody checks its signature here."""
    claims = {"aud": audience, "exp": expires, "jti": number}
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (b'{"alg":"RS256"}', json.dumps(claims).encode(), b"signature")
    )


class MetadataServer(Server):
    """Gives tokens that live `lifetime` seconds, each another; `hold()` makes it wait until `release()`.

    `statuses` are those of the next answers; `garbage`, if set, is the body of all.
    """

    def __init__(self) -> None:
        self.audiences: list[str] = []
        self.tokens: list[str] = []
        self.lifetime = 3600.0
        self.statuses: deque[int] = deque()
        self.garbage: bytes | None = None
        self.asked = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()
        super().__init__(self._answer)

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def stop(self) -> None:
        self.release()
        super().stop()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        if handler.headers["Metadata-Flavor"] != "Google" or not url.path.endswith("/default/identity"):
            send(handler, 403)
            return
        audience = parse_qs(url.query)["audience"][0]
        self.audiences.append(audience)
        self.asked.release()
        self._open.wait(30)
        if self.statuses and (status := self.statuses.popleft()) != 200:
            send(handler, status, b"as the test asked for", {"Location": "/elsewhere"})
            return
        token = jwt(audience, time.time() + self.lifetime, len(self.tokens))
        self.tokens.append(token)
        body = token.encode() if self.garbage is None else self.garbage
        send(handler, 200, body, {"Content-Type": "application/text", "Metadata-Flavor": "Google"})
