"""The measurements, each a short step of its own: the variants take turns, so that what disturbs meets all alike."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudrun.ports import free_port

from tests.bench.errors import BenchError
from tests.bench.loss import losses
from tests.bench.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.tools import Count, Tools
    from tests.bench.variants import Stack, Variant

CONNECTIONS: Final = 16
WARM_UP: Final = 65 * CONNECTIONS
"""Requests before measuring. A batch processor exports them all but the last few: it takes 512 spans at a time."""
BETWEEN: Final = 4
"""Variants under load between two turns of the untraced app."""
BACK_END_DOWN: Final = "on-idle 1.0, back end down"
SINK: Final = "the back end's own answer"
_EXACT_WAIT: Final = 5.0
"""Seconds after which spans that must be there count as lost."""
_DEVIATIONS: Final = 5
"""Standard deviations by which the number of sampled traces may differ from its mean."""

Sample = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    """Load on each variant in each round."""
    late: float
    """Seconds to wait for the last batch of rivals, whose timer is 5 s."""
    lone_seconds: float
    cold_starts: int
    growth_rounds: int
    growth_seconds: float
    connections: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    spans: tuple[int, ...] = (1, 10, 30)


FULL: Final = Plan(5, 2.0, 6.0, 1.0, 15, 3, 1.0)
QUICK: Final = Plan(1, 1.5, 6.0, 0.5, 3, 1, 0.7, (1, 16, 64))


@dataclass(frozen=True)
class Step:
    """One measurement of one variant."""

    label: str
    seconds: float
    """What it takes, about: for the progress only."""
    run: Callable[[], Iterator[Sample]]


def steps(stack: Stack, plan: Plan, tools: Tools, project: Path) -> list[Step]:
    """Return all steps for `stack`; `project` is a rendered project that may be changed."""
    starting = [stack.untraced, stack.variant("on-idle 1.0"), *stack.rivals]
    memory_rounds = min(plan.cold_starts, 3)
    return [
        *(step for number in _rounds(plan.rounds) for step in load_round(stack, stack.traced, plan, tools, number)),
        *(step for number in _rounds(plan.rounds) for step in _lone_round(stack, plan, tools, number)),
        *(
            _step("cold start", variant.name, number, 0.8, partial(cold_start, stack, variant, tools))
            for number in _rounds(plan.cold_starts)
            for variant in starting
        ),
        *(
            _step("memory", variant.name, number, 1.2, partial(memory, stack, variant, tools))
            for number in _rounds(memory_rounds)
            for variant in starting
        ),
        *(step for number in _rounds(plan.growth_rounds) for step in _growth_round(stack, plan, tools, number)),
        *(
            _step("loss", variant.name, 1, 5.0, partial(losses, project, stack, variant, tools))
            for variant in [stack.variant("on-idle 1.0"), *stack.rivals]
        ),
    ]


def _rounds(count: int) -> range:
    return range(1, count + 1)


def _step(section: str, variant: str, number: int, seconds: float, measure: Callable[[], Sample]) -> Step:
    def samples() -> Iterator[Sample]:
        yield {"section": section, "round": number, "variant": variant, **measure()}

    return Step(f"{section}, round {number}: {variant}", seconds, samples)


def load_round(stack: Stack, variants: Sequence[Variant], plan: Plan, tools: Tools, number: int) -> Iterator[Step]:
    """Yield one step for each of `variants`, and the untraced app again and again between them, to compare with."""
    for turn, variant in enumerate(variants):
        if not turn % BETWEEN:
            yield _load_step(stack, stack.untraced, plan, tools, number)
        yield _load_step(stack, variant, plan, tools, number)
    yield _load_step(stack, stack.untraced, plan, tools, number)


def _load_step(stack: Stack, variant: Variant, plan: Plan, tools: Tools, number: int) -> Step:
    seconds = 1.5 + plan.seconds + (plan.late if variant.rival else 0)
    return _step("load", variant.name, number, seconds, partial(load, stack, variant, plan, tools))


def _lone_round(stack: Stack, plan: Plan, tools: Tools, number: int) -> Iterator[Step]:
    traced = [stack.variant(name) for name in ("on-idle 1.0", "on-idle 1.0, keep errors")]
    for variant in [stack.untraced, *traced]:
        measure = partial(lone_client, stack, variant, plan, tools)
        yield _step("lone client", variant.name, number, 1 + plan.lone_seconds, measure)
    for name, special in ((SINK, sink_alone), (BACK_END_DOWN, back_end_down)):
        yield _step("lone client", name, number, 1 + plan.lone_seconds, partial(special, stack, plan, tools))


def _growth_round(stack: Stack, plan: Plan, tools: Tools, number: int) -> Iterator[Step]:
    seconds = 1.5 + (0.3 + plan.growth_seconds) * (len(plan.connections) + len(plan.spans))
    traced = [stack.variant(name) for name in ("on-idle 1.0", "on-idle 0.1, keep errors")]
    for variant in [stack.untraced, *traced]:
        measure = partial(growth, stack, variant, plan, tools, number)
        yield Step(f"growth, round {number}: {variant.name}", seconds, measure)


def load(stack: Stack, variant: Variant, plan: Plan, tools: Tools) -> Sample:
    """CPU for each request under load, with the late exports that it causes."""
    tools.forget()
    with Server(stack, variant, tools) as server:
        tools.load(server.url(), requests=WARM_UP, connections=CONNECTIONS)
        before = server.cpu()
        result = tools.load(server.url(), seconds=plan.seconds, connections=CONNECTIONS)
        sent = WARM_UP + result.sent
        count = _delivered(variant, sent, plan, tools)
        cpu = server.cpu() - before
    return {
        "cpu": cpu / result.sent,
        "throughput": result.sent / result.seconds,
        "p50": result.p50,
        "p99": result.p99,
        "requests": sent,
        "delivered": count.server,
        "spans": count.spans,
        "exports": count.exports,
        "duplicates": count.duplicates,
    }


def _delivered(variant: Variant, sent: int, plan: Plan, tools: Tools) -> Count:
    """Return what has arrived of `sent` requests. Raises `BenchError` where that is not what must arrive."""
    if not variant.must_deliver:
        return tools.wait_for(sent, plan.late) if variant.rival else tools.count()
    expected = sent * variant.ratio
    tolerance = _DEVIATIONS * math.sqrt(expected * (1 - variant.ratio))
    count = tools.wait_for(math.ceil(expected - tolerance), _EXACT_WAIT)
    if variant.ratio < 1:  # how many are to come is not known exactly: wait until no more do
        count = _steady(tools)
    if count.duplicates or abs(count.server - expected) > tolerance:
        bound = f" ± {tolerance:.0f}" if tolerance else ""
        raise BenchError(
            f"{variant.name}: {count.server} SERVER spans arrived ({count.duplicates} of them twice), but {sent} "
            f"requests must give {expected:.0f}{bound}: what it costs says nothing while spans are missing"
        )
    return count


def _steady(tools: Tools) -> Count:
    count = tools.count()
    while True:
        time.sleep(0.15)
        again = tools.count()
        if again == count:
            return count
        count = again


def lone_client(stack: Stack, variant: Variant, plan: Plan, tools: Tools, endpoint: str | None = None) -> Sample:
    """What one client waits that sends one request after the other."""
    tools.forget()
    with Server(stack, variant, tools, endpoint) as server:
        tools.load(server.url(), requests=200, connections=1)
        result = tools.load(server.url(), seconds=plan.lone_seconds, connections=1)
        return {"p50": result.p50, "p99": result.p99}


def back_end_down(stack: Stack, plan: Plan, tools: Tools) -> Sample:
    """Do the same where nothing listens at the back end's address, once the breaker has opened."""
    return lone_client(stack, stack.variant("on-idle 1.0"), plan, tools, f"http://127.0.0.1:{free_port()}")


def sink_alone(stack: Stack, plan: Plan, tools: Tools) -> Sample:
    """What the back end itself takes to answer an export of one span."""
    tools.forget()
    with Server(stack, stack.variant("on-idle 1.0"), tools) as server:
        server.get()
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "export"
        body.write_bytes(tools.last_export())
        result = tools.load(f"{tools.http}/v1/traces", seconds=plan.lone_seconds, connections=1, body=body)
    return {"p50": result.p50, "p99": result.p99}


def cold_start(stack: Stack, variant: Variant, tools: Tools) -> Sample:
    """From the start of the process until it listens, with the CPU time of that, and until its first response."""
    started = time.perf_counter()
    with Server(stack, variant, tools) as server:
        cpu = server.cpu()
        server.get()
        return {"listening": server.listening_after, "cpu": cpu, "first_response": time.perf_counter() - started}


def memory(stack: Stack, variant: Variant, tools: Tools) -> Sample:
    """What the server takes once it listens and nothing is exported yet, and after the first exports."""
    tools.forget()
    with Server(stack, variant, tools) as server:
        server.get("/health")
        server.until_settled()
        before = server.memory()
        tools.load(server.url(), requests=WARM_UP, connections=CONNECTIONS)
        server.until_settled()
        return {"before": before, "after_load": server.memory()}


def growth(stack: Stack, variant: Variant, plan: Plan, tools: Tools, number: int) -> Iterator[Sample]:
    """CPU for each request as connections grow, and as the spans of a request do."""
    points = [("connections", each, each, "/items/1") for each in plan.connections]
    points += [("spans", each, CONNECTIONS, f"/spans/{each}") for each in plan.spans]
    tools.forget()
    with Server(stack, variant, tools) as server:
        tools.load(server.url(), requests=WARM_UP, connections=CONNECTIONS)
        for what, size, connections, path in points:
            server.until_settled(0.1)
            before = server.cpu()
            result = tools.load(server.url(path), seconds=plan.growth_seconds, connections=connections)
            server.until_settled(0.1)
            cpu = (server.cpu() - before) / result.sent
            yield {
                "section": "growth",
                "round": number,
                "variant": variant.name,
                what: size,
                "cpu": cpu,
                "p50": result.p50,
            }
