"""CPU for each request under load, of the untraced app and of one way of tracing it that takes turns with it.

Both servers are there all the time and are loaded one after the other, again and again within seconds: on a shared
machine the same code takes up to half as much CPU time again from one minute to the next.
"""

from __future__ import annotations

import math
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.bench.errors import BenchError
from tests.bench.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.plan import Plan, Sample
    from tests.bench.tools import Count, Load, Tools
    from tests.bench.variants import Stack, Variant

CONNECTIONS: Final = 16
WARM_UP: Final = 65 * CONNECTIONS
"""Requests before measuring. A batch processor exports them all but the last few: it takes 512 spans at a time."""
_EXACT_WAIT: Final = 5.0
"""Seconds after which spans that must be there count as lost."""
_QUIET: Final = 1.3
"""Seconds without a further span after which none is on its way: what is queued leaves within one."""
_DEVIATIONS: Final = 5
"""Standard deviations by which the number of sampled traces may differ from its mean."""


def under_load(stack: Stack, variant: Variant, plan: Plan, tools: Tools) -> Iterator[Sample]:
    """Yield one sample of the untraced app and one of `variant`, with the late exports that its requests cause.

    `ratio` is the median of the turns, and so is `cpu`.
    Raises `BenchError` where the spans that arrive are not those that must.
    """
    tools.forget()
    with Server(stack, stack.untraced, tools) as untraced, Server(stack, variant, tools) as traced:
        servers = (untraced, traced)
        for server in servers:
            tools.load(server.url(), requests=WARM_UP, connections=CONNECTIONS)
        used: tuple[list[float], list[float]] = ([], [])
        loads: tuple[list[Load], list[Load]] = ([], [])
        for _ in range(plan.turns):
            for server, before, taken in zip(servers, used, loads, strict=True):
                before.append(server.cpu())
                taken.append(tools.load(server.url(), seconds=plan.seconds, connections=CONNECTIONS))
        sent = WARM_UP + sum(load.sent for load in loads[1])
        count = _delivered(variant, sent, plan, tools)
        for server, before in zip(servers, used, strict=True):
            before.append(server.cpu())  # the exports after a turn are that turn's, the last ones too
    costs = [_costs(*each) for each in zip(used, loads, strict=True)]
    yield {**_sample(stack.untraced, costs[0], loads[0]), "ratio": 1.0}
    yield {
        **_sample(variant, costs[1], loads[1]),
        "ratio": statistics.median(untraced / traced for untraced, traced in zip(*costs, strict=True)),
        "requests": sent,
        "delivered": count.server,
        "spans": count.spans,
        "exports": count.exports,
        "duplicates": count.duplicates,
    }


def _costs(used: list[float], loads: list[Load]) -> list[float]:
    return [(after - before) / load.sent for (before, after), load in zip(pairwise(used), loads, strict=True)]


def _sample(variant: Variant, costs: list[float], loads: list[Load]) -> Sample:
    return {
        "variant": variant.name,
        "cpu": statistics.median(costs),
        "throughput": sum(load.sent for load in loads) / sum(load.seconds for load in loads),
        "p50": statistics.median(load.p50 for load in loads),
        "p99": statistics.median(load.p99 for load in loads),
    }


def _delivered(variant: Variant, sent: int, plan: Plan, tools: Tools) -> Count:
    if not variant.must_deliver:
        return tools.wait_for(sent, plan.late)
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
    count, since = tools.count(), time.monotonic()
    while time.monotonic() - since < _QUIET:
        time.sleep(0.15)
        again = tools.count()
        if again != count:
            count, since = again, time.monotonic()
    return count
