"""OTLP over gRPC: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from cloudrun.ports import free_port

if TYPE_CHECKING:
    from cloudrun.intake import Admit, Intake
    from cloudrun.tls import CertificateAuthority

_CODES: Final = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.UNIMPLEMENTED,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_THREADS: Final = 4


class OtlpGrpc:
    """Takes exports from those whom `admit` admits, on 127.0.0.1, on a port that it keeps over `stop` and `resume`.

    It runs in threads: grpc.aio shares one poller between all event loops of a process, and tests have many.
    """

    def __init__(
        self,
        intake: Intake,
        admit: Admit,
        authority: CertificateAuthority | None = None,
    ) -> None:
        self._intake = intake
        self._admit = admit
        self._authority = authority
        self._port = free_port()
        self._server: grpc.Server | None = None

    @property
    def url(self) -> str:
        """The address."""
        return f"{'http' if self._authority is None else 'https'}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        server = grpc.server(ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0)])

        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            taken = asyncio.run_coroutine_threadsafe(self._intake.take(headers, body, self._admit), loop)
            refusal = taken.result()
            if refusal is not None and refusal.retry_after is not None:
                status = Status()
                status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=refusal.retry_after)))
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            if refusal is not None:
                context.abort(_CODES.get(HTTPStatus(refusal.status), grpc.StatusCode.INTERNAL), refusal.reason)
            return ExportTraceServiceResponse().SerializeToString()

        # Without the generated servicer, so that the intake decodes the bytes and answers for those it cannot decode.
        handler = grpc.method_handlers_generic_handler(
            _SERVICE, {"Export": grpc.unary_unary_rpc_method_handler(export)}
        )
        server.add_generic_rpc_handlers((handler,))
        address = f"127.0.0.1:{self._port}"
        if self._authority is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, grpc.ssl_server_credentials([self._authority.key_and_chain()]))
        server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            stopped = self._server.stop(grace=None)
            await asyncio.get_running_loop().run_in_executor(None, stopped.wait)
            self._server = None
