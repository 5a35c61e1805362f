"""One request through three services is one trace, and its tree is exact."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from cloudrun.sampling import keeps, new_span_id, new_trace_id

from tests.chain import WHOLE, frozen, get, labels, path_of
from tests.project import CHAIN
from tests.test_outage import billings
from tests.traffic import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun, Trace

    from tests.conftest import ChainVariant

RATIO = 0.1
REQUESTS = 300


def is_there(trace: Trace) -> bool:
    return len(trace.own()) >= len(WHOLE)


def trace_ids_in_logs(run: CloudRun, service: str) -> list[str]:
    lines = [json.loads(line) for line in run.logs(service) if line.startswith("{")]
    return [found for line in lines if (found := line.get("logging.googleapis.com/trace")) is not None]


@billings
@pytest.mark.parametrize("exporter", ["sidecar", "direct"])
def test_the_tree_is_exact(
    start: Callable[..., CloudRun],
    chain_variant: ChainVariant,
    otelcol: Path,
    monkeypatch: pytest.MonkeyPatch,
    exporter: str,
    billing: str,
) -> None:
    monkeypatch.setenv("COLLECTOR_BINARY", str(otelcol))
    run = start(chain_variant(exporter=exporter, billing=billing))
    sent = []
    for flags in ((False, False, False), (True, True, True), (True, False, False), (False, False, True)):
        for service, flag in zip(CHAIN, flags, strict=True):
            run.force_flag(sampled=flag, service=service)
        caller, trace_id = new_span_id(), new_trace_id()
        reply = run.get("/items/1", headers={"traceparent": f"00-{trace_id}-{caller}-00"})
        assert (reply.status, list(reply.json()["parts"])) == (200, ["pricing"])
        sent.append(trace_id)
        trace = run.wait_for_trace(trace_id, is_there)
        assert billing == "instance" or frozen(run), "somebody has CPU: nothing is proven"
        assert labels(trace) == WHOLE
        entries = [run.requests(service)[-1] for service in CHAIN]
        api, to_pricing, pricing, to_inventory, inventory = path_of(trace)
        # What each front end was told is what the caller's headers said; what it told the service is another span.
        assert [entry.span.parent_id for entry in entries] == [caller, to_pricing.span_id, to_inventory.span_id]
        assert {entry.span.trace_id for entry in entries} == {trace_id}
        assert not {entry.span.span_id for entry in entries} & {pricing.parent_id, inventory.parent_id}
        by_platform = {span.span_id for span in trace.spans if span.by_platform}
        expected = [entry.span.span_id for entry, flag in zip(entries, flags, strict=True) if flag]
        assert by_platform == set(expected)
        assert api.parent_id == (entries[0].span.span_id if flags[0] else None)
        assert {span.status for span in path_of(trace)} == {"UNSET"}
    assert run.trace_ids() == set(sent)
    for service in CHAIN:
        assert trace_ids_in_logs(run, service) == sent
    assert set(run.span_ids().values()) == {1}, "a span has arrived twice"
    assert sum(run.span_ids().values()) == len(sent) * len(WHOLE)


def test_the_trace_of_an_old_caller_goes_on_through_all_services(
    start: Callable[..., CloudRun], rendered_chain: Path
) -> None:
    run = start(rendered_chain)
    trace_id, caller = new_trace_id(), int(new_span_id(), 16)
    headers = {"x-cloud-trace-context": f"{trace_id}/{caller};o=1"}
    answer = httpx.get(run.url() + "/items/1", headers=headers, trust_env=False)
    assert answer.status_code == 200
    assert frozen(run)
    assert labels(run.trace(trace_id)) == WHOLE
    assert run.trace_ids() == {trace_id}
    assert [run.requests(service)[-1].span.trace_id for service in CHAIN] == [trace_id] * 3


def test_a_trace_is_whole_or_absent(start: Callable[..., CloudRun], rendered_chain: Path) -> None:
    run = start(rendered_chain, OTEL_TRACES_SAMPLER_ARG=str(RATIO), TRACERUN_KEEP_SLOWER_THAN_MS="0")
    trace_ids = [new_trace_id() for _ in range(REQUESTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        assert {reply.status for reply in clients.map(lambda trace_id: get(run, trace_id), trace_ids)} == {200}
    expected = {trace_id for trace_id in trace_ids if keeps(trace_id, RATIO)}
    assert 0 < len(expected) < REQUESTS, "the rule kept all or nothing: nothing is proven"
    assert frozen(run)
    assert run.trace_ids() == expected
    assert all(labels(run.trace(trace_id)) == WHOLE for trace_id in expected)
