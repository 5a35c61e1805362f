"""Every request of expect.yaml gives the trace that it should, and nothing is lost when the CPU goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudrun import CloudRun, Reply, Trace, expect, topology

PROJECT = Path(__file__).parents[2]
TOPOLOGY = topology.load(PROJECT)
REQUESTS = expect.load(PROJECT, TOPOLOGY.services)
CALLS = {(name, callee) for name, service in TOPOLOGY.services.items() for callee in service.calls}
CPU_GOES = TOPOLOGY.billing == "request"
SINGLE_REQUESTS = 20


@pytest.fixture(autouse=True)
def _kept() -> None:
    if TOPOLOGY.sampling.ratio == 0:
        pytest.fail("sampling.ratio is 0: no trace is kept, so nothing can be proven")


def send(cloudrun: CloudRun, expected: expect.Expected) -> Reply:
    caller = cloudrun.system.usual_caller(expected.service)
    reply = cloudrun.request(expected.method, expected.path, service=expected.service, caller=caller)
    assert reply.status == expected.status, reply.content
    return reply


def trace_of(cloudrun: CloudRun, expected: expect.Expected, reply: Reply) -> Trace:
    """Return what has arrived: all of it is there with the response, or, where the CPU stays, soon after it."""
    if not CPU_GOES:
        return cloudrun.wait_for_trace(reply.trace_id, expected.is_in)
    with_cpu = [service for service in TOPOLOGY.services if not cloudrun.instance(service).frozen]
    assert not with_cpu, f"{with_cpu} still had CPU: nothing is proven"
    return cloudrun.trace(reply.trace_id)


@pytest.mark.parametrize("expected", REQUESTS, ids=lambda expected: expected.request)
def test_the_trace_is_whole_when_the_response_is_there(cloudrun: CloudRun, expected: expect.Expected) -> None:
    trace = trace_of(cloudrun, expected, send(cloudrun, expected))
    spans = expected.path_in(trace)
    by_platform = {span.span_id for span in trace.spans if span.by_platform}
    assert not spans or spans[0].parent_id in {None, *by_platform}
    assert {span.service for span in trace.own()} <= set(TOPOLOGY.services)


def test_every_call_of_topology_yaml_is_in_a_trace(cloudrun: CloudRun) -> None:
    traces = [trace_of(cloudrun, expected, send(cloudrun, expected)) for expected in REQUESTS]
    missing = CALLS - expect.calls_seen(TOPOLOGY, traces)
    assert not missing, f"no request of expect.yaml shows these calls, or their spans are not joined: {sorted(missing)}"


@pytest.mark.parametrize("expected", REQUESTS[:1], ids=lambda expected: expected.request)
def test_no_span_is_lost_when_the_cpu_goes_after_each_response(cloudrun: CloudRun, expected: expect.Expected) -> None:
    services = expected.services
    before = {service: cloudrun.instance(service).freezes for service in services}
    replies = [send(cloudrun, expected) for _ in range(SINGLE_REQUESTS)]
    freezes = {cloudrun.instance(service).freezes - before[service] for service in services}
    for service in TOPOLOGY.services:
        if CPU_GOES:
            cloudrun.kill(service)
        else:
            cloudrun.terminate(service)
    assert freezes == {SINGLE_REQUESTS if CPU_GOES else 0}, f"the CPU went {freezes} times: nothing is proven"
    lost = [reply.trace_id for reply in replies if not expected.is_in(cloudrun.trace(reply.trace_id))]
    assert not lost, f"{len(lost)} of {len(replies)} traces are not whole, the first is {lost[0]}"
    assert set(cloudrun.span_ids().values()) == {1}, "a span was delivered twice"


@pytest.mark.parametrize("service", TOPOLOGY.services)
def test_an_idle_service_shuts_down_within_a_second(cloudrun: CloudRun, service: str) -> None:
    send(cloudrun, REQUESTS[0])
    ended = cloudrun.terminate(service)
    assert ended.code == 0, cloudrun.logs(service)
    assert ended.seconds < 3, f"it took {ended.seconds:.1f} s"
