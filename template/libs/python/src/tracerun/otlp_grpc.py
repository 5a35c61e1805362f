"""Exports over OTLP/gRPC, by the official encoder and stub.

Not by the official exporter: it tells only success or failure, so a span that the back end will never take could not
be told from an outage, and would hold up all others.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.util.re import parse_env_headers

from tracerun.limits import within_limits
from tracerun.otlp import LONGEST_RETRY_AFTER, TIMEOUT, Answer, Outcome, variable
from tracerun.quiet import once_per_minute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tracerun.otlp import Export

LARGEST_MESSAGE: Final = 4 << 20
"""Bytes that a gRPC server takes by default; a larger export is refused, and sent in halves."""

_DEFAULT_ENDPOINT: Final = "http://localhost:4317"
_NOISY: Final = ("grpc._plugin_wrapping", "opentelemetry.attributes")
"""Loggers with a line for every export or value; what is lost is counted and said by the processor."""
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"
_STATUS_DETAILS: Final = "grpc-status-details-bin"
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    # A channel waits up to 2 minutes before it tries to connect again: a back end that is back would not be found.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Without this a new channel gets the connection of the old one.
    ("grpc.use_local_subchannel_pool", 1),
)


def otlp_grpc(*, signed: bool, timeout: float = TIMEOUT) -> Export:
    """Return an export over OTLP/gRPC (default http://localhost:4317); `signed`: with a token of Google's.

    `timeout` is in seconds. Raises `ValueError` when the end point is no URL, `OSError` when a file of certificates
    cannot be read, and what `channel_credentials` raises.
    """
    once_per_minute(*_NOISY)
    target, tls = _target()
    credentials = _credentials(signed=signed) if tls else None
    channel = _channel(target, credentials)
    stub = _stub(channel)
    metadata = tuple(_headers().items())

    def connect_anew(*, with_credentials: bool) -> None:
        nonlocal channel, credentials, stub
        if with_credentials:
            credentials = _credentials(signed=signed)  # raises: the channel stays
        channel.close()
        channel = _channel(target, credentials)
        stub = _stub(channel)

    def export(spans: Sequence[ReadableSpan]) -> Answer:
        try:
            request = encode_spans([within_limits(span) for span in spans])
            size = request.ByteSize()
        except Exception:  # noqa: BLE001 (whatever it is, another try will not help)
            return Answer(Outcome.REFUSED, lost=len(spans))
        try:
            response = stub.Export(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                # The connection may have been forgotten while the instance had no CPU; that is not told.
                connect_anew(with_credentials=False)
            elif signed and error.code() is grpc.StatusCode.UNAUTHENTICATED:
                # google-auth renews a token when it expires, over gRPC never when it is refused.
                connect_anew(with_credentials=True)
            return _failure(error, len(spans), size)
        return Answer(Outcome.DELIVERED, lost=max(int(response.partial_success.rejected_spans), 0))

    return export


def _stub(channel: grpc.Channel) -> TraceServiceStub:
    return TraceServiceStub(channel)  # type: ignore[no-untyped-call]


def _target() -> tuple[str, bool]:
    """Return host and port, and whether TLS is spoken there."""
    url = variable("ENDPOINT") or _DEFAULT_ENDPOINT
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT={url}: use a URL such as {_DEFAULT_ENDPOINT}")
    tls = parts.scheme == "https"
    host = parts.netloc.rpartition("@")[2]
    return (host if parts.port else f"{host}:{443 if tls else 80}"), tls


def _channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    compression = grpc.Compression.Gzip if variable("COMPRESSION") == "gzip" else grpc.Compression.NoCompression
    if credentials is None:
        return grpc.insecure_channel(target, options=_OPTIONS, compression=compression)
    return grpc.secure_channel(target, credentials, options=_OPTIONS, compression=compression)


def _credentials(*, signed: bool) -> grpc.ChannelCredentials:
    if signed:
        from tracerun.google_credentials import channel_credentials  # noqa: PLC0415 (only direct export needs it)

        return channel_credentials(_file("CERTIFICATE"))
    return grpc.ssl_channel_credentials(_file("CERTIFICATE"), _file("CLIENT_KEY"), _file("CLIENT_CERTIFICATE"))


def _file(name: str) -> bytes | None:
    path = variable(name)
    return Path(path).read_bytes() if path else None


def _headers() -> Mapping[str, str]:
    return parse_env_headers(variable("HEADERS"), liberal=True)


def _failure(error: grpc.RpcError, spans: int, size: int) -> Answer:
    """Return REFUSED where the same export will always fail, as over HTTP; access and address can be mended."""
    code = error.code()
    too_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and size > LARGEST_MESSAGE
    if code is grpc.StatusCode.INVALID_ARGUMENT or too_large:
        return Answer(Outcome.REFUSED, lost=spans)
    return Answer(Outcome.FAILED, _retry_after(error))


def _retry_after(error: grpc.RpcError) -> float:
    """Return the seconds that the back end asks for: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling."""
    trailers = {item.key: item.value for item in error.trailing_metadata() or ()}
    try:
        info = RetryInfo.FromString(trailers.get(_RETRY_INFO, b""))
        for detail in Status.FromString(trailers.get(_STATUS_DETAILS, b"")).details:
            detail.Unpack(info)  # changes nothing for a detail of another type
        delay = info.retry_delay.ToTimedelta()
    except (DecodeError, OverflowError):
        return 0.0
    return float(min(max(delay.total_seconds(), 0.0), LONGEST_RETRY_AFTER))
