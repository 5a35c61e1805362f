"""Every request of expect.yaml gives the trace that it should, and nothing is lost when the CPU goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudrun import CloudRun, Span, Trace, expect, topology

PROJECT = Path(__file__).parents[2]
REQUESTS = expect.load(PROJECT, topology.load(PROJECT).services)
SINGLE_REQUESTS = 20


def path_of(trace: Trace, labels: tuple[str, ...]) -> list[Span]:
    """Return the spans with these labels, each a child of the one before."""
    spans = [trace.one(labels[0])]
    for label in labels[1:]:
        (child,) = [span for span in trace.children(spans[-1].span_id) if span.label == label]
        spans.append(child)
    return spans


@pytest.mark.parametrize("expected", REQUESTS, ids=lambda expected: expected.request)
def test_the_trace_is_whole_when_the_response_is_there(cloudrun: CloudRun, expected: expect.Expected) -> None:
    if cloudrun.system.topology.sampling.ratio == 0:
        pytest.fail("sampling.ratio is 0: no trace is kept, so nothing can be proven")
    reply = cloudrun.request(expected.method, expected.path, service=expected.service)
    assert reply.status == expected.status, reply.content
    assert cloudrun.instance(expected.service).frozen, "the instance still had CPU: nothing is proven"
    trace = cloudrun.trace(reply.trace_id)
    spans = path_of(trace, expected.spans)
    assert spans[0].parent_id in {None, *(span.span_id for span in trace.spans if span.by_platform)}
    for span in trace.own():
        assert span.service in cloudrun.system.topology.services


@pytest.mark.parametrize("expected", REQUESTS[:1], ids=lambda expected: expected.request)
def test_no_span_is_lost_when_the_cpu_goes_after_each_response(cloudrun: CloudRun, expected: expect.Expected) -> None:
    before = cloudrun.instance(expected.service).freezes
    replies = [
        cloudrun.request(expected.method, expected.path, service=expected.service) for _ in range(SINGLE_REQUESTS)
    ]
    freezes = cloudrun.instance(expected.service).freezes - before
    cloudrun.kill(expected.service)
    assert freezes == SINGLE_REQUESTS, f"the CPU went {freezes} times for {SINGLE_REQUESTS} requests: nothing is proven"
    lost = [reply.trace_id for reply in replies if not cloudrun.trace(reply.trace_id).own()]
    assert not lost, f"{len(lost)} of {len(replies)} traces are lost, the first is {lost[0]}"
    assert set(cloudrun.span_ids().values()) == {1}, "a span was delivered twice"


def test_an_idle_service_shuts_down_within_a_second(cloudrun: CloudRun) -> None:
    cloudrun.get("/health")
    ended = cloudrun.terminate()
    assert ended.code == 0, cloudrun.logs()
    assert ended.seconds < 3, f"it took {ended.seconds:.1f} s"
