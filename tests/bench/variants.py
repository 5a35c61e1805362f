"""What is compared: one row a stack, one row a way of tracing it. A further language is a further row of STACKS."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tests.bench import python_environment
from tests.project import APPS, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

UNTRACED: Final = "untraced"


@dataclass(frozen=True)
class Variant:
    """One way to serve the app."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of what every variant gets, see `server.environment`."""
    ratio: float = 1.0
    """Share of the requests whose SERVER span must arrive."""
    must_deliver: bool = False
    """The bench fails when the spans that arrive are not those of the requests."""
    rival: bool = False


@dataclass(frozen=True)
class Goals:
    """What the design promises of a stack. Ratios: server CPU of a request, untraced ÷ traced."""

    ratios: Mapping[str, tuple[float, float]]
    """Floor and aim by variant."""
    lone_client: float
    """Seconds that the median request of a lone client takes longer, beyond the back end's own answer."""
    cold_start: float
    """Seconds until the server listens."""
    memory: int
    """Bytes before the first export."""
    back_end_down: float
    """Seconds that the median request takes longer, once the breaker is open."""


@dataclass(frozen=True)
class Stack:
    """A framework of a language, with the same app behind all variants."""

    name: str
    folder: Path
    """What the commands run in."""
    untraced: Variant
    ours: Sequence[Variant]
    rivals: Sequence[Variant]
    goals: Goals
    install: Callable[..., Path]
    """Called with `rivals`, a bool: installs what the variants need and returns the folder of their programs."""

    @property
    def traced(self) -> list[Variant]:
        return [*self.ours, *self.rivals]

    def variant(self, name: str) -> Variant:
        return next(variant for variant in self.traced if variant.name == name)


# The floors are measured with nothing kept but by the ratio; the template's own settings stand beside them.
_KEEP_OFF: Final = {"TRACERUN_KEEP_ERRORS": "false", "TRACERUN_KEEP_SLOWER_THAN_MS": "0"}
_KEEP_ON: Final = {"TRACERUN_KEEP_ERRORS": "true", "TRACERUN_KEEP_SLOWER_THAN_MS": "1000"}


def tracerun(command: Sequence[str], environment: Mapping[str, str]) -> list[Variant]:
    """Return every mode of this template's library: the same variables in every language."""
    return [
        Variant(
            f"{flush} {ratio}{suffix}",
            command,
            {
                **environment,
                **keep,
                "OTEL_TRACES_SAMPLER_ARG": str(ratio),
                "TRACERUN_FLUSH": flush,
                "TRACERUN_MAX_TRACES_PER_SECOND": "0",
            },
            ratio=ratio,
            must_deliver=True,
        )
        for keep, suffix in ((_KEEP_OFF, ""), (_KEEP_ON, ", keep errors"))
        for flush in ("on-idle", "background")
        for ratio in (1.0, 0.1)
    ]


# Traces only, all of them, whatever flag the front end sends; no spans for probes.
_STOCK: Final = {
    "OTEL_TRACES_SAMPLER": "always_on",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "health",
}

FASTAPI: Final = Stack(
    "Python FastAPI",
    APPS / "bench" / "fastapi",
    Variant(UNTRACED, ("python", "-m", "untraced")),
    tracerun(
        ("python", "-m", "traced"),
        {"PYTHONPATH": str(REPOSITORY / "template" / "libs" / "python" / "src")},
    ),
    [
        Variant(
            "opentelemetry-instrument",
            ("sh", "-c", "exec opentelemetry-instrument uvicorn --port $PORT --no-access-log main:app"),
            _STOCK,
            rival=True,
        ),
        Variant(
            "contrib, batch, OTLP/gRPC",
            ("python", "-m", "contrib"),
            {**_STOCK, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            rival=True,
        ),
        Variant("contrib, batch, OTLP/HTTP", ("python", "-m", "contrib"), _STOCK, rival=True),
        Variant(
            "FastAPI's own telemetry",
            ("python", "-m", "untraced"),
            {**_STOCK, "FASTAPI_OTEL_AUTO_CONFIGURE": "true"},
            rival=True,
        ),
        Variant(
            "contrib, flush after each response",
            ("python", "-m", "contrib"),
            {**_STOCK, "FLUSH": "1"},
            rival=True,
        ),
    ],
    Goals(
        {
            "on-idle 1.0": (0.45, 0.60),
            "on-idle 0.1": (0.52, 0.80),
            "background 1.0": (0.52, 0.52),
            "background 0.1": (0.80, 0.80),
        },
        lone_client=0.0013,
        cold_start=0.030,
        memory=6 << 20,
        back_end_down=0.0005,
    ),
    python_environment.programs,
)

STACKS: Final = (FASTAPI,)


def with_library(variant: Variant, source: Path, suffix: str) -> Variant:
    """Return `variant` of this template's library with the library's sources at `source`."""
    return replace(
        variant, name=f"{variant.name} {suffix}", environment={**variant.environment, "PYTHONPATH": str(source)}
    )
