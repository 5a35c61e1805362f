"""The measurements, each a short step: the variants take turns, so that what disturbs meets all alike."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudrun.ports import free_port

from tests.bench.loss import losses
from tests.bench.server import Server
from tests.bench.under_load import CONNECTIONS, WARM_UP, under_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.plan import Plan, Sample
    from tests.bench.tools import Tools
    from tests.bench.variants import Stack, Variant

RIVALS_COLD_START: Final = 3
"""Every so many rounds: what they take is plain, while a few ms need many."""
BACK_END_DOWN: Final = "on-idle 1.0, back end down"
SINK: Final = "the back end's own answer"


@dataclass(frozen=True)
class Step:
    """One measurement, mostly of one variant."""

    label: str
    seconds: float
    """What it takes, about: for the progress only."""
    run: Callable[[], Iterator[Sample]]


def steps(stack: Stack, plan: Plan, tools: Tools, project: Path) -> list[Step]:
    """Return all steps for `stack`; `project` is a rendered project that may be changed."""
    starting = [stack.untraced, stack.variant("on-idle 1.0"), *stack.rivals]
    memory_rounds = min(plan.cold_starts, 3)
    return [
        *(
            step
            for number in _rounds(plan.rounds)
            for step in load_round(stack, _loaded(stack, plan, number), plan, tools, number)
        ),
        *(step for number in _rounds(plan.lone_rounds) for step in _lone_round(stack, plan, tools, number)),
        *(step for number in _rounds(plan.cold_starts) for step in _cold_round(stack, tools, number)),
        *(
            _step("memory", variant.name, number, 1.2, partial(memory, stack, variant, tools))
            for number in _rounds(memory_rounds)
            for variant in starting
        ),
        *(_growth_step(stack, plan, tools, number) for number in _rounds(plan.growth_rounds)),
        *(
            _step("loss", variant.name, 1, 5.0, partial(losses, project, stack, variant, tools))
            for variant in [stack.variant("on-idle 1.0"), *stack.rivals]
        ),
    ]


def _loaded(stack: Stack, plan: Plan, number: int) -> Sequence[Variant]:
    return stack.traced if number <= plan.rival_rounds else stack.ours


def _rounds(count: int) -> range:
    return range(1, count + 1)


def _step(section: str, variant: str, number: int, seconds: float, measure: Callable[[], Sample]) -> Step:
    def samples() -> Iterator[Sample]:
        yield {"variant": variant, **measure()}

    return _steps(section, variant, number, seconds, samples)


def _steps(section: str, what: str, number: int, seconds: float, measure: Callable[[], Iterator[Sample]]) -> Step:
    def samples() -> Iterator[Sample]:
        for sample in measure():
            yield {"section": section, "round": number, **sample}

    return Step(f"{section}, round {number}: {what}", seconds, samples)


def load_round(stack: Stack, variants: Sequence[Variant], plan: Plan, tools: Tools, number: int) -> Iterator[Step]:
    """Yield one step for each of `variants`, which takes turns with the untraced app."""
    for variant in variants:
        seconds = 2.5 + 2 * plan.turns * (plan.seconds + 0.05) + (plan.late if variant.rival else 0)
        measure = partial(under_load, stack, variant, plan, tools)
        yield _steps("load", variant.name, number, seconds, measure)


def _lone_round(stack: Stack, plan: Plan, tools: Tools, number: int) -> Iterator[Step]:
    traced = [stack.variant(name) for name in ("on-idle 1.0", "on-idle 1.0, keep errors")]
    for variant in [stack.untraced, *traced]:
        measure = partial(lone_client, stack, variant, plan, tools)
        yield _step("lone client", variant.name, number, 1 + plan.lone_seconds, measure)
    for name, special in ((SINK, sink_alone), (BACK_END_DOWN, back_end_down)):
        yield _step("lone client", name, number, 1 + plan.lone_seconds, partial(special, stack, plan, tools))


def _cold_round(stack: Stack, tools: Tools, number: int) -> Iterator[Step]:
    rivals = () if number % RIVALS_COLD_START else stack.rivals
    for variant in (stack.untraced, stack.variant("on-idle 1.0"), *rivals):
        yield _step("cold start", variant.name, number, 0.6, partial(cold_start, stack, variant, tools))


def _growth_step(stack: Stack, plan: Plan, tools: Tools, number: int) -> Step:
    variants = [stack.untraced, *(stack.variant(name) for name in ("on-idle 1.0", "on-idle 0.1, keep errors"))]
    seconds = len(variants) * (1.5 + (0.3 + plan.growth_seconds) * (len(plan.connections) + len(plan.spans)))
    return _steps("growth", "all", number, seconds, partial(growth, stack, variants, plan, tools))


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


def growth(stack: Stack, variants: Sequence[Variant], plan: Plan, tools: Tools) -> Iterator[Sample]:
    """CPU for each request as connections grow, and as the spans of a request do: at each point all take turns.

    `variants` begin with the untraced app.
    """
    points = [("connections", each, each, "/items/1") for each in plan.connections]
    points += [("spans", each, CONNECTIONS, f"/spans/{each}") for each in plan.spans]
    tools.forget()
    with contextlib.ExitStack() as running:
        servers = [running.enter_context(Server(stack, variant, tools)) for variant in variants]
        for server in servers:
            tools.load(server.url(), requests=WARM_UP, connections=CONNECTIONS)
        for what, size, connections, path in points:
            untraced = None
            for server in servers:
                server.until_settled(0.1)
                before = server.cpu()
                result = tools.load(server.url(path), seconds=plan.growth_seconds, connections=connections)
                server.until_settled(0.1)
                cpu = (server.cpu() - before) / result.sent
                untraced = untraced or cpu
                yield {
                    "variant": server.variant.name,
                    what: size,
                    "cpu": cpu,
                    "ratio": untraced / cpu,
                    "p50": result.p50,
                }
