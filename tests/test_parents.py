"""Across a border the parent is exact, although the front end replaces every parent id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from cloudrun.sampling import new_span_id, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudrun import CloudRun, Span

REQUESTS = 50


def traceparent(trace_id: str, span_id: str, flag: int) -> str:
    return f"00-{trace_id}-{span_id}-{flag:02x}"


def server_span(run: CloudRun, trace_id: str) -> Span:
    return run.trace(trace_id).one("SERVER GET /plain")


@pytest.mark.parametrize("flag", [True, False])
def test_a_trusted_callers_span_is_the_parent(start: Callable[..., CloudRun], shapes: Path, flag: bool) -> None:
    run = start(shapes, TRACERUN_TRUST_CALLERS="true")
    run.force_flag(sampled=flag)
    for _ in range(REQUESTS):
        trace_id, caller = new_trace_id(), new_span_id()
        sent = traceparent(trace_id, caller, 1)
        reply = run.get("/plain", headers={"traceparent": sent, "original-traceparent": sent})
        assert reply.trace_id == trace_id
        assert server_span(run, trace_id).parent_id == caller
        front_end = run.system.requests[-1].span
        assert front_end.span_id != caller, "the front end kept the parent id: nothing is proven"


def test_a_trusted_callers_decision_is_followed(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes, TRACERUN_TRUST_CALLERS="true", OTEL_TRACES_SAMPLER_ARG="0.5")
    run.force_flag(sampled=True)
    kept, dropped = new_trace_id(0.5), "0" * 17 + "1" + "0" * 14
    for trace_id, flag in ((kept, 0), (dropped, 1)):
        sent = traceparent(trace_id, new_span_id(), flag)
        run.get("/plain", headers={"traceparent": sent, "original-traceparent": sent})
        assert len(run.trace(trace_id).own()) == (2 if flag else 0)


def test_a_public_service_does_not_believe_a_forged_copy(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes, OTEL_TRACES_SAMPLER_ARG="0")
    sent = traceparent(new_trace_id(), new_span_id(), 1)
    run.get("/plain", headers={"traceparent": sent, "original-traceparent": sent})
    assert run.trace_ids() == set()


def test_the_root_is_in_the_platforms_trace_where_the_platform_did_not_sample(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes)
    run.force_flag(sampled=False)
    reply = run.get("/plain")
    assert server_span(run, reply.trace_id).parent_id is None
    assert [span for span in run.trace(reply.trace_id).spans if span.by_platform] == []


def test_the_platforms_span_is_the_parent_where_it_is_stored(start: Callable[..., CloudRun], shapes: Path) -> None:
    run = start(shapes)
    run.force_flag(sampled=True)
    reply = run.get("/plain")
    (platform,) = [span for span in run.trace(reply.trace_id).spans if span.by_platform]
    assert server_span(run, reply.trace_id).parent_id == platform.span_id


def test_the_platforms_span_is_no_parent_where_traces_are_read_elsewhere(
    start: Callable[..., CloudRun], shapes: Path
) -> None:
    run = start(shapes, TRACERUN_BACKEND="other")
    run.force_flag(sampled=True)
    reply = run.get("/plain")
    assert server_span(run, reply.trace_id).parent_id is None


LEGACY = "{}/81985529216486895;o=1"


@pytest.mark.parametrize(
    ("traceparent_header", "legacy_header", "kept"),
    [
        (True, True, "traceparent"),
        (True, False, "traceparent"),
        (False, True, "legacy"),
        (True, "malformed", "traceparent"),
        ("malformed", True, "legacy"),
        ("malformed", "malformed", "neither"),
        (False, False, "neither"),
    ],
)
def test_the_trace_of_either_header_goes_on(
    start: Callable[..., CloudRun],
    shapes: Path,
    traceparent_header: bool | str,
    legacy_header: bool | str,
    kept: str,
) -> None:
    run = start(shapes)
    ids = {"traceparent": new_trace_id(), "legacy": new_trace_id()}
    headers = {"x-nothing": "1"}
    if traceparent_header:
        value = traceparent(ids["traceparent"], new_span_id(), 0)
        headers["traceparent"] = value[:-5] if traceparent_header == "malformed" else value
    if legacy_header:
        value = LEGACY.format(ids["legacy"])
        headers["x-cloud-trace-context"] = f"!{value}" if legacy_header == "malformed" else value
    response = httpx.get(run.url() + "/plain", headers=headers, trust_env=False)
    assert response.status_code == 200
    (trace_id,) = run.trace_ids()
    assert trace_id == ids.get(kept, trace_id)
    if kept == "neither":
        assert trace_id not in ids.values()


def test_what_the_service_calls_sees_the_client_span_in_both_headers(
    start: Callable[..., CloudRun], project: Path
) -> None:
    run = start(project)
    reply = run.get("/items/1/reviews")
    client = run.trace(reply.trace_id).one("CLIENT GET")
    (seen,) = run.system.upstream.headers
    assert seen["traceparent"].split("-")[1:3] == [reply.trace_id, client.span_id]
    assert seen["original-traceparent"] == seen["traceparent"]
    assert client.parent_id == run.trace(reply.trace_id).one("SERVER GET /items/{id}/reviews").span_id


def test_two_hops_through_the_front_end_are_one_tree(start: Callable[..., CloudRun], project: Path) -> None:
    # The service's own front end stands in for a second service.
    run = start(project, TRACERUN_TRUST_CALLERS="true")
    run.terminate()
    run.system._environment["UPSTREAM_URL"] = run.url()  # noqa: SLF001 (the address is known only now)
    run.start_instance()
    run.force_flag(sampled=False)
    reply = run.get("/items/1/reviews")
    assert reply.status == 502, "the second hop has no such route"
    trace = run.wait_for_trace(reply.trace_id, 3)
    outer = trace.one("SERVER GET /items/{id}/reviews")
    client = trace.one("CLIENT GET")
    inner = trace.one("SERVER GET")
    assert (outer.parent_id, client.parent_id, inner.parent_id) == (None, outer.span_id, client.span_id)
