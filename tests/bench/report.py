"""The report of one run, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.bench.figures import Figure, Samples
from tests.bench.steps import BACK_END_DOWN, SINK
from tests.bench.variants import UNTRACED
from tests.markdown import table
from tests.traffic import BURST, SINGLE_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.variants import Stack

_US: Final = 1e-6
_MS: Final = 1e-3
_MB: Final = 1 << 20

_READING: Final = (
    "Medians over the rounds, with the lowest and highest in brackets. **Ratio**: server CPU for each request, "
    "untraced ÷ traced; under load both servers are there, and take turns of a fraction of a second. *Delivered* is "
    "the share of requests whose SERVER span the back end had in the end. *Lost* is the share that it did not have "
    "when the instance was killed while it had no CPU: "
    f"after each of {SINGLE_REQUESTS} single requests, and after a burst of {BURST}."
)


def markdown(stack: Stack, run: dict[str, Any], chart: str) -> str:
    """Return the report of `run`, the content of its `run.json`; `chart` is the address of its picture."""
    samples = Samples(run["samples"])
    parts = [
        f"# What tracing costs: {stack.name}",
        f"{run['date']}, {run['machine']}. {run['versions']}.",
        f"![server CPU for each request]({chart})",
        _READING,
        "## Goals",
        table(("", "reached", "floor", "aim", ""), _goals(stack, samples)),
        "## Under load, 16 connections",
        table(
            ("", "ratio", "CPU µs", "throughput ratio", "p50 ms", "delivered", "lost: single", "lost: burst"),
            [_load_row(samples, variant) for variant in samples.variants("load")],
        ),
        "## Lone client",
        table(
            ("", "p50 ms", "added ms"),
            [_lone_row(samples, variant) for variant in samples.variants("lone client")],
        ),
        "## Cold start",
        table(
            ("", "listening ms", "added ms", "CPU until then ms", "added ms", "first response ms", "added ms"),
            [_cold_row(samples, variant) for variant in samples.variants("cold start")],
        ),
        "## Memory",
        table(
            ("", "before the first export, MB", "added MB", "after load, MB"),
            [_memory_row(samples, variant) for variant in samples.variants("memory")],
        ),
        "## Growth",
        *(_growth(samples, key) for key in ("connections", "spans")),
    ]
    return "\n\n".join(parts) + "\n"


def lone_added(samples: Samples, variant: str) -> Figure:
    """Return what a lone client waits longer, beyond what the back end takes to answer."""
    answer = samples.figure("lone client", SINK, "p50").median
    return samples.compared("lone client", variant, "p50", lambda untraced, traced: traced - untraced - answer)


def _goals(stack: Stack, samples: Samples) -> list[Sequence[str]]:
    goals = stack.goals
    rows: list[Sequence[str]] = []
    for name, (floor, aim) in goals.ratios.items():
        reached = samples.ratio("load", name)
        verdict = (
            "below the floor" if reached.median < floor else "reached" if reached.median >= aim else "above the floor"
        )
        rows.append((f"{name}, ratio", reached.shown(), f"{floor:.2f}", f"{aim:.2f}", verdict))
    limits: list[tuple[str, Figure, float, float]] = [
        ("lone client, p50 added, ms", lone_added(samples, "on-idle 1.0"), goals.lone_client, _MS),
        ("cold start added, ms", samples.added("cold start", "on-idle 1.0", "listening"), goals.cold_start, _MS),
        (
            "memory added before the first export, MB",
            samples.added("memory", "on-idle 1.0", "before"),
            goals.memory,
            _MB,
        ),
        ("back end down, p50 added, ms", samples.added("lone client", BACK_END_DOWN, "p50"), goals.back_end_down, _MS),
    ]
    for label, reached, limit, unit in limits:
        verdict = "reached" if reached.median <= limit else "above the limit"
        rows.append((label, reached.shown(unit), f"≤ {limit / unit:g}", "", verdict))
    return rows


def _load_row(samples: Samples, variant: str) -> Sequence[str]:
    throughput = samples.compared("load", variant, "throughput", lambda untraced, traced: traced / untraced)
    lost = samples.of("loss", variant)
    return (
        variant,
        samples.ratio("load", variant).shown(),
        samples.figure("load", variant, "cpu").shown(_US, 0),
        throughput.shown(),
        samples.figure("load", variant, "p50").shown(_MS),
        "" if variant == UNTRACED else _delivered(samples, variant),
        *(f"{lost[0][key]:.0%}" if lost else "" for key in ("single", "burst")),
    )


def _delivered(samples: Samples, variant: str) -> str:
    taken = samples.of("load", variant)
    return f"{sum(sample['delivered'] for sample in taken) / sum(sample['requests'] for sample in taken):.1%}"


def _lone_row(samples: Samples, variant: str) -> Sequence[str]:
    shown = samples.figure("lone client", variant, "p50").shown(_MS)
    alone = variant in {UNTRACED, SINK}
    return (variant, shown, "" if alone else samples.added("lone client", variant, "p50").shown(_MS))


def _cold_row(samples: Samples, variant: str) -> Sequence[str]:
    cells = [variant]
    for key in ("listening", "cpu", "first_response"):
        cells.append(samples.figure("cold start", variant, key).shown(_MS, 0))
        cells.append("" if variant == UNTRACED else samples.added("cold start", variant, key).shown(_MS, 0))
    return cells


def _memory_row(samples: Samples, variant: str) -> Sequence[str]:
    return (
        variant,
        samples.figure("memory", variant, "before").shown(_MB, 1),
        "" if variant == UNTRACED else samples.added("memory", variant, "before").shown(_MB, 1),
        samples.figure("memory", variant, "after_load").shown(_MB, 1),
    )


def _growth(samples: Samples, key: str) -> str:
    points = samples.points(key)
    head = [f"CPU µs for each request, by {key}", *map(str, points)]
    rows: list[Sequence[str]] = []
    for variant in samples.variants("growth"):
        cpu = [f"{samples.figure('growth', variant, 'cpu', **{key: point}).median / _US:.0f}" for point in points]
        rows.append([variant, *cpu])
        if variant != UNTRACED:
            ratios = [f"{samples.ratio('growth', variant, **{key: point}).median:.2f}" for point in points]
            rows.append([f"{variant}, ratio", *ratios])
    return table(head, rows)
