"""Fifty clients for half a minute: no error, no growth, and no kept trace that is not whole."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest
from cloudrun.sampling import keeps, new_trace_id

from tests.chain import WHOLE, frozen, get, labels
from tests.project import CHAIN
from tests.traffic import PATIENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudrun import CloudRun

    from tests.conftest import ChainVariant

CLIENTS = 50
SECONDS = 30
WARM = 10
"""Seconds after which every instance has started and has done everything that it ever does."""
ALLOWED_MIB = 4
"""Growth of one process from then on. Allocators that keep what a moment needed come to less than 1 MiB; requests that
each left 4 kB behind, about one CLIENT span, to twice the bound."""
RATIO = 0.2


def memory_mib(run: CloudRun) -> dict[tuple[str, int], float]:
    """Return the memory of each service's processes, in MiB."""
    pids = [(service, instance.processes.pid) for service in CHAIN for instance in run.instances(service)]
    return {(service, pid): psutil.Process(pid).memory_info().rss / 2**20 for service, pid in pids}


@pytest.mark.slow
@pytest.mark.alone
def test_fifty_clients_for_half_a_minute(start: Callable[..., CloudRun], chain_variant: ChainVariant) -> None:
    chain = chain_variant(services={"pricing": {"concurrency": 10}})
    run = start(chain, OTEL_TRACES_SAMPLER_ARG=str(RATIO), TRACERUN_KEEP_SLOWER_THAN_MS="0", **PATIENT)
    began = time.monotonic()

    def client(_: int) -> list[tuple[str, int]]:
        answers = []
        while time.monotonic() - began < SECONDS:
            trace_id = new_trace_id()
            answers.append((trace_id, get(run, trace_id).status))
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        time.sleep(WARM)
        warm = memory_mib(run)
        answers = [answer for one in clients for answer in one.result()]
    assert frozen(run), "somebody has CPU after the last response"
    grown = {key: mib - warm[key] for key, mib in memory_mib(run).items() if key in warm}
    assert {status for _, status in answers} == {200}
    assert len(answers) > 10 * CLIENTS, "too few requests: nothing is proven"
    assert len(run.instances("pricing")) > 1, "one instance took all: nothing is proven"
    assert set(grown) == set(warm), "an instance has ended"
    assert max(grown.values()) < ALLOWED_MIB, f"MiB: {grown}"
    expected = {trace_id for trace_id, _ in answers if keeps(trace_id, RATIO)}
    assert run.trace_ids() == expected
    not_whole = [trace_id for trace_id in expected if labels(run.trace(trace_id)) != WHOLE]
    assert not not_whole, f"{len(not_whole)} of {len(expected)} traces are not whole"
