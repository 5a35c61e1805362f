"""The front end keeps trace ids, replaces parents and samples by itself."""

from __future__ import annotations

import re

import pytest
from cloudrun.trace_headers import Headers, PlatformSampler, at_front_end

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = "0af7651916cd43dd8448eb211c80319c"
PARENT = "00f067aa0ba902b7"


def seen(*headers: tuple[str, str]) -> dict[str, str]:
    raw: Headers = [(name.encode(), value.encode()) for name, value in headers]
    passed, _ = at_front_end(raw, unsampled())
    names = [name for name, _ in passed]
    assert len(names) == len(set(names)), "a header stands twice"
    return {name.decode(): value.decode() for name, value in passed}


def unsampled() -> PlatformSampler:
    sampler = PlatformSampler()
    sampler.flag = False
    return sampler


@pytest.mark.parametrize("flag", ["00", "01"])
def test_the_trace_id_is_kept_and_the_parent_replaced(flag: str) -> None:
    headers = seen(("traceparent", f"00-{TRACE}-{PARENT}-{flag}"))
    match = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-00", headers["traceparent"])
    assert match
    assert match[1] != PARENT
    assert headers["x-cloud-trace-context"] == f"{TRACE}/{int(match[1], 16)};o=0"


def test_traceparent_is_filled_in() -> None:
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", seen()["traceparent"])


def test_the_legacy_header_serves_where_traceparent_is_absent_or_malformed() -> None:
    legacy = ("x-cloud-trace-context", f"{OTHER}/1;o=1")
    assert OTHER in seen(legacy)["traceparent"]
    assert OTHER in seen(("traceparent", "nonsense"), legacy)["traceparent"]
    assert TRACE in seen(("traceparent", f"00-{TRACE}-{PARENT}-00"), legacy)["traceparent"]


def test_other_headers_pass_unchanged() -> None:
    own = [("original-traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "a=b"), ("baggage", "k=v")]
    assert dict(own).items() <= seen(*own).items()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_at_most_one_request_in_ten_seconds_is_sampled_unasked() -> None:
    clock = Clock()
    sampler = PlatformSampler(clock)
    sampled = 0
    for _ in range(1000):
        sampled += sampler.sample(forced=False)
        clock.now += 0.1
    assert sampled == 10


def test_at_most_ten_requests_a_second_are_sampled_because_their_callers_ask() -> None:
    clock = Clock()
    sampler = PlatformSampler(clock)
    sampler.sample(forced=False)
    sampled = 0
    for _ in range(1000):
        sampled += sampler.sample(forced=True)
        clock.now += 0.005
    assert 50 <= sampled <= 51
