"""A failing path is kept at any ratio, from the root to the error, in every service that saw it fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudrun.sampling import keeps, new_trace_id

from tests.chain import WHOLE, frozen, get, labels, path_of, seen
from tests.project import CHAIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun, Trace

    from tests.conftest import ChainVariant

NOTHING_ELSE = {"OTEL_TRACES_SAMPLER_ARG": "0", "TRACERUN_KEEP_SLOWER_THAN_MS": "0"}
"""Only errors are kept."""
WHOLE_FAILED = [(service, label.split()[0], "ERROR") for service, label in WHOLE]
SLOW = 0.4
"""Seconds that a callee takes, so that what runs beside it has ended."""


def spans_of(trace: Trace, service: str) -> list[str]:
    return [f"{span.kind} {span.status}" for span in trace.own() if span.service == service]


def test_a_mistake_at_the_end_is_kept_up_to_the_root(
    start: Callable[..., CloudRun], chain_variant: ChainVariant
) -> None:
    run = start(chain_variant(apps={"inventory": "raises"}), **NOTHING_ELSE)
    reply = run.get("/items/1")
    assert reply.status == 502
    assert frozen(run)
    path = path_of(run.trace(reply.trace_id))
    assert [(span.service, span.kind, span.status) for span in path] == WHOLE_FAILED
    assert path[-1].events[0][1]["exception.message"] == "out of stock"
    assert [span.attributes["http.response.status_code"] for span in path] == [502, 502, 502, 500, 500]


def test_what_fails_outside_is_kept_in_all_services_and_nothing_else_is(
    start: Callable[..., CloudRun], rendered_chain: Path
) -> None:
    run = start(rendered_chain, slow={"inventory": 0.0}, **NOTHING_ELSE)
    outside = run.system.slow["inventory"]
    failed = {}
    for outside.status in (200, 500, 200, 503):
        reply = run.get("/items/1")
        assert reply.status == (200 if outside.status == 200 else 502)
        if outside.status != 200:
            failed[reply.trace_id] = {500: 1, 503: 2}[outside.status]
    assert frozen(run)
    assert run.trace_ids() == set(failed)
    for trace_id, tries in failed.items():  # a 503 is tried once more, by the service that got it alone
        spans = run.trace(trace_id).own()
        assert seen(run.trace(trace_id)) == [*WHOLE_FAILED, *[("inventory", "CLIENT", "ERROR")] * tries]
        assert [span.parent_id for span in spans[1:5]] == [span.span_id for span in spans[:4]]
        assert {span.parent_id for span in spans[5:]} == {spans[4].span_id}


def test_a_callee_without_an_instance_is_seen_by_its_callers(
    start: Callable[..., CloudRun], rendered_chain: Path
) -> None:
    run = start(rendered_chain, **NOTHING_ELSE)
    run.kill("inventory")
    reply = run.get("/items/1")
    assert reply.status == 502
    trace = run.trace(reply.trace_id)
    assert seen(trace) == [*WHOLE_FAILED[:4], ("pricing", "CLIENT", "ERROR")]
    first, second = trace.own()[-2:]
    assert first.parent_id == second.parent_id == trace.own()[2].span_id
    assert [span.attributes.get("http.request.resend_count") for span in (first, second)] == [None, 1]


def test_a_callee_that_answered_well_keeps_its_own_decision(
    start: Callable[..., CloudRun], rendered_chain: Path
) -> None:
    # pricing calls inventory, and something outside that fails when inventory has long answered.
    run = start(rendered_chain, slow={"pricing": SLOW}, OTEL_TRACES_SAMPLER_ARG="0.1", TRACERUN_KEEP_SLOWER_THAN_MS="0")
    run.system.slow["pricing"].status = 500
    dropped, kept = "0" * 17 + "1" + "0" * 14, new_trace_id(0.1)
    assert not keeps(dropped, 0.1)
    for trace_id in (dropped, kept):
        assert get(run, trace_id).status == 502
    assert frozen(run)
    for trace_id, of_inventory in ((dropped, []), (kept, ["SERVER UNSET"])):
        trace = run.trace(trace_id)
        assert spans_of(trace, "inventory") == of_inventory
        assert spans_of(trace, "api") == ["SERVER ERROR", "CLIENT ERROR"]
        assert sorted(spans_of(trace, "pricing")) == ["CLIENT ERROR", "CLIENT UNSET", "SERVER ERROR"]


def test_a_failure_ends_the_calls_beside_it_and_none_of_their_spans_is_lost(
    start: Callable[..., CloudRun], rendered_chain: Path
) -> None:
    run = start(rendered_chain, slow={"pricing": 4.0}, **NOTHING_ELSE)
    run.kill("inventory")
    reply = run.get("/items/1")
    assert reply.status == 502
    assert run.instance("pricing").frozen
    run.kill("pricing")
    spans = [span for span in run.trace(reply.trace_id).own() if span.service == "pricing"]
    server, *calls = spans
    assert [span.kind for span in spans] == ["SERVER"] + ["CLIENT"] * 3  # two tries to inventory, one call outside
    assert {span.status for span in spans} == {"ERROR"}
    assert all(call.parent_id == server.span_id and call.end <= server.end for call in calls)
    assert (server.end - server.start) / 1e9 < 3, "it waited for the slow one"


def test_without_keep_errors_nothing_is_kept(start: Callable[..., CloudRun], rendered_chain: Path) -> None:
    run = start(rendered_chain, slow={"inventory": 0.0}, TRACERUN_KEEP_ERRORS="false", **NOTHING_ELSE)
    run.system.slow["inventory"].status = 500
    assert run.get("/items/1").status == 502
    for service in CHAIN:
        run.terminate(service)
    assert run.trace_ids() == set()


def test_errors_are_kept_beside_the_rules_traces(start: Callable[..., CloudRun], rendered_chain: Path) -> None:
    ratio = 0.1
    run = start(
        rendered_chain,
        slow={"inventory": 0.0},
        OTEL_TRACES_SAMPLER_ARG=str(ratio),
        TRACERUN_KEEP_SLOWER_THAN_MS="0",
    )
    expected = set()
    for number in range(30):
        fails = number % 3 == 0
        run.system.slow["inventory"].status = 500 if fails else 200
        trace_id = new_trace_id()
        get(run, trace_id)
        if fails or keeps(trace_id, ratio):
            expected.add(trace_id)
    assert run.trace_ids() == expected
    whole = [*WHOLE, ("inventory", "CLIENT GET")]
    assert all(labels(run.trace(trace_id)) == whole for trace_id in expected)
