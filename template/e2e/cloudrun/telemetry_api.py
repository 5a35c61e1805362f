"""The Telemetry API; where topology.yaml names another back end, that one.

Not imitated: quotas.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cloudrun.intake import Intake
from cloudrun.otlp_http import OtlpHttp
from cloudrun.protocols import GRPC, HTTP
from cloudrun.rules import BEARER_TOKEN, OTLP_TRACES, imitates

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cloudrun.otlp_grpc import OtlpGrpc
    from cloudrun.store import Store
    from cloudrun.tls import CertificateAuthority


@imitates(OTLP_TRACES, BEARER_TOKEN)
class TelemetryApi:
    """Takes exports at two addresses: only one of them, with TLS, asks who exports.

    The other stands in for a sidecar's collector. Tests make both slow or failing by `intake`.
    """

    def __init__(
        self,
        store: Store,
        authority: CertificateAuthority,
        tokens: Collection[str],
        *,
        headers: Mapping[str, str] | None = None,
        grpc: bool = False,
    ) -> None:
        """`tokens` are the valid access tokens; `headers` are those that another back end asks for, None: Google's.

        `grpc`: over that protocol too.
        """
        self.intake = Intake(store, google=headers is None)
        self._tokens = tokens
        self._headers = headers
        self.signed_exports = 0
        self._open: dict[str, OtlpHttp | OtlpGrpc] = {HTTP: OtlpHttp(self.intake, _anybody)}
        self._signed: dict[str, OtlpHttp | OtlpGrpc] = {
            HTTP: OtlpHttp(self.intake, self._refuse_stranger, authority.server_context())
        }
        if grpc:
            # Services are started by fork: gRPC would warn of its threads each time.
            os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
            from cloudrun.otlp_grpc import OtlpGrpc  # noqa: PLC0415 (most projects never ask for it, and it is slow)

            self._open[GRPC] = OtlpGrpc(self.intake, _anybody)
            self._signed[GRPC] = OtlpGrpc(self.intake, self._refuse_stranger, authority)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that it speaks."""
        return tuple(self._open)

    def url(self, protocol: str = HTTP) -> str:
        """Return the address, without a path, that stands in for a collector: it asks for nothing."""
        return self._open[protocol].url

    def signed_url(self, protocol: str = HTTP) -> str:
        """Return the address, without a path, that asks who exports."""
        return self._signed[protocol].url

    async def start(self) -> None:
        """Listen; after `stop` on the same ports again."""
        for listener in self._listeners():
            await listener.start()

    async def stop(self) -> None:
        """Stop listening, as in an outage: connections are refused from then on."""
        for listener in self._listeners():
            await listener.stop()

    def _listeners(self) -> list[OtlpHttp | OtlpGrpc]:
        return [*self._open.values(), *self._signed.values()]

    def _refuse_stranger(self, headers: Mapping[str, str]) -> str | None:
        if self._headers is None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            known = scheme == "Bearer" and token in self._tokens
            reason = "no access token that the metadata server gave"
        else:
            known = all(headers.get(name) == value for name, value in self._headers.items())
            reason = f"the headers of the secret are missing: {', '.join(self._headers)}"
        self.signed_exports += known
        return None if known else reason


def _anybody(_headers: Mapping[str, str]) -> str | None:
    return None
