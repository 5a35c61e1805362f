"""The metadata server: https://cloud.google.com/run/docs/container-contract#metadata-server.

Refused in words: ID tokens, which come with private services.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from aiohttp import web

from cloudrun.environment import PROJECT_ID
from cloudrun.rules import METADATA, imitates
from cloudrun.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FLAVOR: Final = {"Metadata-Flavor": "Google"}
_PROJECT_NUMBER: Final = "123456789012"
_TOKEN_SECONDS: Final = 3599
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


@imitates(METADATA)
class MetadataServer(WebServer):
    """Answers for one region; every token that it gave is in `tokens`.

    Tests make it slow or failing where it gives tokens: set `delay` (seconds), `status` or `lifetime` (seconds).
    """

    def __init__(self, region: str) -> None:
        self.tokens: set[str] = set()
        self.delay = 0.0
        self.status: int | None = None
        self.lifetime = _TOKEN_SECONDS
        # By name or as "default": there is one service account.
        account = "/instance/service-accounts/{account}"
        values = {
            "/project/project-id": PROJECT_ID,
            "/project/numeric-project-id": _PROJECT_NUMBER,
            "/instance/region": f"projects/{_PROJECT_NUMBER}/regions/{region}",
            "/instance/zone": f"projects/{_PROJECT_NUMBER}/zones/{region}-1",
            "/instance/id": secrets.token_hex(48),
            f"{account}/email": f"offline@{PROJECT_ID}.iam.gserviceaccount.com",
        }
        base = "/computeMetadata/v1"
        super().__init__(
            [
                web.get("/", _guarded(_text(""))),
                *(web.get(base + path, _guarded(_text(value))) for path, value in values.items()),
                web.get(f"{base}{account}/", _guarded(_account)),
                web.get(f"{base}{account}/token", _guarded(self._token)),
                web.get(f"{base}{account}/identity", _guarded(_refuse_identity)),
            ]
        )

    async def revoke(self) -> None:
        """Make every token that was given invalid."""
        self.tokens.clear()

    async def _token(self, _request: web.Request) -> web.Response:
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.status is not None:
            return web.Response(status=self.status, text="as the test asked for")
        token = secrets.token_urlsafe(32)
        self.tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"})


def _guarded(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def guarded(request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403, text="Missing Metadata-Flavor:Google header.", headers=_FLAVOR)
        response = await handler(request)
        response.headers.update(_FLAVOR)
        return response

    return guarded


async def _account(_request: web.Request) -> web.Response:
    # Not the address that /email tells: google-auth would ask the real Google, behind the program's back, from which
    # regions it may be used (https://github.com/googleapis/google-cloud-python, "regional access boundary").
    return web.json_response({"aliases": ["default"], "email": "offline@localhost", "scopes": [_SCOPE]})


def _text(value: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=value)

    return answer


async def _refuse_identity(_request: web.Request) -> web.Response:
    return web.Response(status=501, text="ID tokens are not imitated yet: they come with private services")
