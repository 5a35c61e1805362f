"""The metadata server: https://cloud.google.com/run/docs/container-contract#metadata-server.

Each service has one of its own, which knows the service's account and no other.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from aiohttp import web

from cloudrun.environment import PROJECT_ID
from cloudrun.identity import LIFETIME, account_of
from cloudrun.rules import ID_TOKENS_GIVEN, METADATA, imitates
from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudrun.identity import IdTokens
    from cloudrun.topology import Topology

    Handler = Callable[[web.Request], Awaitable[web.Response]]

_FLAVOR: Final = {"Metadata-Flavor": "Google"}
_PROJECT_NUMBER: Final = "123456789012"
_TOKEN_SECONDS: Final = 3599
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_BASE: Final = "/computeMetadata/v1"


@imitates(METADATA)
class MetadataServer:
    """The metadata servers of all services; every access token that they gave is in `tokens`.

    Tests make them slow or failing where they give tokens of either kind: set `delay` (seconds), `status` or `lifetime`
    (seconds).
    """

    def __init__(self, topology: Topology, id_tokens: IdTokens) -> None:
        self.id_tokens = id_tokens
        self.tokens: set[str] = set()
        self.id_token_requests: list[tuple[str, str]] = []
        """Service and audience of each ID token that was given."""
        self.delay = 0.0
        self.status: int | None = None
        self.lifetime: float | None = None
        """None: Google's."""
        self._servers = {name: _Server(self, topology, name) for name in topology.services}

    def url(self, service: str) -> str:
        """Return the address, without a path, of the metadata server of `service`."""
        return self._servers[service].url

    async def start(self) -> None:
        """Listen; after `stop` on the same ports again."""
        for server in self._servers.values():
            await server.start()

    async def stop(self) -> None:
        """Stop listening, as in an outage: connections are refused from then on."""
        for server in self._servers.values():
            await server.stop()

    async def revoke(self) -> None:
        """Make every access token that was given invalid."""
        self.tokens.clear()

    async def trouble(self) -> web.Response | None:
        """Wait as long as the test asked for, and return the failure that it asked for."""
        if self.delay:
            await asyncio.sleep(self.delay)
        return None if self.status is None else web.Response(status=self.status, text="as the test asked for")


class _Server(WebServer):
    def __init__(self, shared: MetadataServer, topology: Topology, service: str) -> None:
        self._shared = shared
        self._service = service
        self._email = account_of(topology.project, service)
        # The address that the account's own page tells is another one: google-auth would ask the real Google, behind
        # the program's back, from which regions the account may be used
        # (https://github.com/googleapis/google-cloud-python, "regional access boundary").
        self._alias = f"{service}@localhost"
        region = topology.region
        values = {
            "/project/project-id": PROJECT_ID,
            "/project/numeric-project-id": _PROJECT_NUMBER,
            "/instance/region": f"projects/{_PROJECT_NUMBER}/regions/{region}",
            "/instance/zone": f"projects/{_PROJECT_NUMBER}/zones/{region}-1",
            "/instance/id": secrets.token_hex(48),
        }
        account = _BASE + "/instance/service-accounts/{account}"
        super().__init__(
            [
                web.get("/", _guarded(_text(""))),
                *(web.get(_BASE + path, _guarded(_text(value))) for path, value in values.items()),
                web.get(f"{account}/", self._own(self._about)),
                web.get(f"{account}/email", self._own(_text(self._email))),
                web.get(f"{account}/token", self._own(self._token)),
                web.get(f"{account}/identity", self._own(self._identity)),
            ]
        )

    def _own(self, handler: Handler) -> Handler:
        """Answer for the service's own account only."""

        async def own(request: web.Request) -> web.Response:
            if request.match_info["account"] not in {"default", self._email, self._alias}:
                return web.Response(status=404, text="this service has another account")
            return await handler(request)

        return _guarded(own)

    async def _about(self, _request: web.Request) -> web.Response:
        return web.json_response({"aliases": ["default"], "email": self._alias, "scopes": [_SCOPE]})

    async def _token(self, _request: web.Request) -> web.Response:
        if (failed := await self._shared.trouble()) is not None:
            return failed
        token = secrets.token_urlsafe(32)
        self._shared.tokens.add(token)
        seconds = _TOKEN_SECONDS if self._shared.lifetime is None else self._shared.lifetime
        return web.json_response({"access_token": token, "expires_in": seconds, "token_type": "Bearer"})

    @imitates(ID_TOKENS_GIVEN)
    async def _identity(self, request: web.Request) -> web.Response:
        audience = request.query.get("audience", "")
        if not audience:
            return web.Response(status=400, text="non-empty audience parameter required")
        if (failed := await self._shared.trouble()) is not None:
            return failed
        self._shared.id_token_requests.append((self._service, audience))
        seconds = LIFETIME if self._shared.lifetime is None else self._shared.lifetime
        return web.Response(text=self._shared.id_tokens.sign(self._email, audience, lifetime=seconds))


def _guarded(handler: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403, text="Missing Metadata-Flavor:Google header.", headers=_FLAVOR)
        response = await handler(request)
        response.headers.update(_FLAVOR)
        return response

    return guarded


def _text(value: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=value)

    return answer
