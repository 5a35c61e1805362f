"""What the environment asks of the library."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

LONGEST_DEADLINE: Final = 10.0
"""Seconds that a response may be told to wait at most."""
_LONGEST_NUMBER: Final = 16
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

HEALTH_PATH: Final = "/health"
"""Path of the probes; they are neither traced nor counted as requests."""


class Settings(NamedTuple):
    """The library's settings, each from one environment variable.

    A value that cannot be used is reported in one WARNING and replaced by its default, as OpenTelemetry asks:
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """

    disabled: bool = False
    """`OTEL_SDK_DISABLED`: no tracing at all."""
    ratio: float = 1.0
    """`OTEL_TRACES_SAMPLER_ARG`: share of traces to keep, 0 to 1."""
    trust_callers: bool = False
    """`TRACERUN_TRUST_CALLERS`: only services of this system can call, so their parent and decision count."""
    keep_errors: bool = True
    """`TRACERUN_KEEP_ERRORS`: keep traces in which a span failed, whatever the ratio."""
    keep_slower_than: float = 1.0
    """`TRACERUN_KEEP_SLOWER_THAN_MS`: keep traces whose root took longer, in seconds here; 0: none."""
    max_traces_per_second: float = 100.0
    """`TRACERUN_MAX_TRACES_PER_SECOND`: traces that this instance decides to keep; as many errors; 0: no bound."""
    google_backend: bool = True
    """`TRACERUN_BACKEND` is `google`: traces are read where the platform's own spans are."""
    on_idle: bool = True
    """`TRACERUN_FLUSH` is `on-idle`: the last response waits for its spans; `background`: none does."""
    flush_deadline: float = 0.5
    """`TRACERUN_FLUSH_DEADLINE_MS`: the longest a response waits, in seconds here."""

    grpc: bool = False
    """`OTEL_EXPORTER_OTLP_PROTOCOL`, or its form for traces, is `grpc`; otherwise `http/protobuf`."""
    private_callees: tuple[str, ...] = ()
    """`TRACERUN_PRIVATE_CALLEES`: addresses of the callees that ask for an ID token, each its token's audience."""

    sign_exports: bool = False
    """`TRACERUN_EXPORT_AUTH` is `google`: exports carry an access token of Google's; `none`: somebody else signs."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from `environ`; unset or empty variables keep their defaults."""
        default = cls()

        def read(name: str, parse: Callable[[str], _T], fallback: _T, allowed: str) -> _T:
            text = environ.get(name, "").strip()
            if not text:
                return fallback
            try:
                return parse(text)
            except (KeyError, ValueError):
                _log.warning("%s must be %s, got %r; using the default", name, allowed, text)
                return fallback

        def either(name: str, yes: str, no: str, *, fallback: bool) -> bool:
            return read(name, {yes: True, no: False}.__getitem__, fallback, f"{yes} or {no}")

        def flag(name: str, *, fallback: bool) -> bool:
            return read(name, lambda text: {"true": True, "false": False}[text.lower()], fallback, "true or false")

        return cls(
            disabled=flag("OTEL_SDK_DISABLED", fallback=default.disabled),
            ratio=read("OTEL_TRACES_SAMPLER_ARG", _ratio, default.ratio, "a number from 0 to 1"),
            trust_callers=flag("TRACERUN_TRUST_CALLERS", fallback=default.trust_callers),
            keep_errors=flag("TRACERUN_KEEP_ERRORS", fallback=default.keep_errors),
            keep_slower_than=read(
                "TRACERUN_KEEP_SLOWER_THAN_MS",
                _milliseconds,
                default.keep_slower_than,
                "a number of milliseconds, 0 or more",
            ),
            max_traces_per_second=read(
                "TRACERUN_MAX_TRACES_PER_SECOND", _rate, default.max_traces_per_second, "a number, 0 or more"
            ),
            google_backend=either("TRACERUN_BACKEND", "google", "other", fallback=default.google_backend),
            on_idle=either("TRACERUN_FLUSH", "on-idle", "background", fallback=default.on_idle),
            flush_deadline=read(
                "TRACERUN_FLUSH_DEADLINE_MS",
                _deadline,
                default.flush_deadline,
                "a number of milliseconds from 0 to 10000",
            ),
            grpc=either(
                next((name for name in _PROTOCOLS if environ.get(name, "").strip()), _PROTOCOLS[0]),
                "grpc",
                "http/protobuf",
                fallback=default.grpc,
            ),
            sign_exports=either("TRACERUN_EXPORT_AUTH", "google", "none", fallback=default.sign_exports),
            private_callees=private_callees(environ),
        )


def private_callees(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the URLs in `TRACERUN_PRIVATE_CALLEES`, which commas separate."""
    return tuple(filter(None, map(str.strip, environ.get("TRACERUN_PRIVATE_CALLEES", "").split(","))))


def _ratio(text: str) -> float:
    ratio = float(text)
    if not 0 <= ratio <= 1:
        raise ValueError(text)
    return ratio


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < math.inf:
        raise ValueError(text)
    return rate


def _milliseconds(text: str) -> float:
    milliseconds = int(text) if len(text) < _LONGEST_NUMBER else -1
    if milliseconds < 0:
        raise ValueError(text)
    return milliseconds / 1000


def _deadline(text: str) -> float:
    seconds = _milliseconds(text)
    if seconds > LONGEST_DEADLINE:
        raise ValueError(text)
    return seconds
