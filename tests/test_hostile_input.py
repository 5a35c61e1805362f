"""Whatever stands in the headers of tracing: no request fails for it, and nothing malformed is passed on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from cloudrun.protocols import GRPC, HTTP, PROTOCOL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.observed import memory_mib
from tests.raw_http import Connection
from tests.test_handlers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cloudrun import CloudRun

    from tests.conftest import Variant
    from tests.journal import Journal

NAMES = [
    b"traceparent",
    b"tracestate",
    b"original-traceparent",
    b"x-cloud-trace-context",
    b"baggage",
    b"grpc-trace-bin",
    b"googclient_traceparent",
]
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
TRACESTATE = re.compile(r"[\x20-\x7e]{0,512}")
PRINTABLE = re.compile(r"[\x20-\x7e]{0,8192}")
ALLOWED_MIB = 40
"""Memory that Python's allocator and the caches of libraries may take while thousands of strange values pass."""

hexadecimal = st.text("0123456789abcdef", min_size=1, max_size=40).map(str.encode)
parts = st.one_of(
    hexadecimal,
    st.sampled_from(
        [
            *(b"00", b"01", b"ff", b"0" * 32, b"f" * 32, b"0" * 16, b"f" * 16, b"-", b";o=", b"/", b"=", b",", b" "),
            *(b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b";o=" + b"9" * 400, b"\xff\xfe", b"%00"),
            *(b"1" * 5000, b"a=b", b"ot=th:0;rv:" + b"f" * 14, b"+1", b"-0", b"1_0", "\uff10".encode()),
        ]
    ),
    # Any byte that HTTP allows in a value.
    st.lists(st.sampled_from([9, *range(32, 127), *range(128, 256)]), max_size=60).map(bytes),
)
well_formed = st.tuples(
    st.sampled_from([b"00", b"01", b"fe", b"ff"]),
    st.binary(min_size=16, max_size=16).map(lambda value: value.hex().encode()),
    st.binary(min_size=8, max_size=8).map(lambda value: value.hex().encode()),
    st.binary(min_size=1, max_size=1).map(lambda value: value.hex().encode()),
).map(b"-".join)
values = st.one_of(well_formed, st.lists(parts, max_size=8).map(b"".join), st.just(b"x" * 8000))
headers = st.lists(st.tuples(st.sampled_from(NAMES), values.map(bytes.strip)), max_size=6).filter(
    lambda found: sum(len(value) for _, value in found) < 30_000
)


def check_carried(carried: Mapping[str, str], *, baggage: bool) -> None:
    allowed = {"traceparent", "original-traceparent", "tracestate"} | ({"baggage"} if baggage else set())
    assert set(carried) <= allowed, carried
    assert PRINTABLE.fullmatch(carried.get("baggage", "")), carried
    assert TRACEPARENT.fullmatch(carried["traceparent"]), carried
    assert carried["original-traceparent"] == carried["traceparent"]
    assert TRACESTATE.fullmatch(carried.get("tracestate", "")), carried


@pytest.mark.parametrize(
    "trusted",
    [pytest.param("true", id="trusts its callers", marks=pytest.mark.slow), pytest.param("false", id="public")],
)
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(300, id="300 cases"),
        pytest.param(10_000, id="10000 cases", marks=[pytest.mark.slow, pytest.mark.alone]),
    ],
)
def test_no_header_breaks_a_request_or_is_passed_on_malformed(
    start: Callable[..., CloudRun], variant: Variant, cases: int, trusted: str
) -> None:
    run = start(variant(billing="instance"), TRACERUN_TRUST_CALLERS=trusted, OTEL_TRACES_SAMPLER_ARG="0.5")
    seen: set[str] = set()
    with Connection(run.instance().port) as connection:
        for _ in range(200):
            connection.get("/carried")
        before = memory_mib(run)

        @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(headers)
        def sent(found: list[tuple[bytes, bytes]]) -> None:
            answer = connection.get("/carried", found)
            assert answer.status == 200, answer
            carried = json.loads(answer.body)
            check_carried(carried, baggage=trusted == "true")
            seen.add(carried["traceparent"][-2:])

        sent()
        assert memory_mib(run) - before < ALLOWED_MIB
    assert {int(flags, 16) & 1 for flags in seen} == {0, 1}, "one decision only: too little is proven"
    assert run.terminate().code == 0
    errors = [line[:400] for line in run.logs() if "Traceback" in line]
    assert not errors, errors[:3]


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(headers)
def through_the_front_end(run: CloudRun, found: list[tuple[bytes, bytes]]) -> None:
    with Connection(int(run.url().rpartition(":")[2])) as connection:
        assert connection.get("/items/1/reviews", found).status == 200
    passed = run.system.upstream.headers[-1]
    check_carried(
        {name: passed[name] for name in passed if name in {header.decode() for header in NAMES}}, baggage=False
    )


@pytest.mark.slow
def test_what_comes_through_the_front_end_reaches_the_next_service_well_formed(
    start: Callable[..., CloudRun], project: Path
) -> None:
    run = start(project)
    through_the_front_end(run)
    assert len(run.system.upstream.headers) >= 300


@pytest.mark.parametrize("protocol", [HTTP, GRPC], ids=["http", "grpc"])
def test_values_of_any_size_arrive_within_the_limits(
    start: Callable[..., CloudRun], variant: Variant, journal: Journal, protocol: str
) -> None:
    run = start(variant(billing="instance", exporter="direct", env={PROTOCOL: protocol}))
    for text in ("x" * 65_536, "x" * 65_537, "é" * 32_769, "😀" * 20_000, "x" * 2_000_000, "\x00"):
        assert run.request("POST", "/attribute", content=text.encode()).status == 200
    until(lambda: run.span_ids() == journal.started(), "the delivery of all spans")
    assert not run.system.telemetry_api.intake.refused
    sizes = {
        len(span.attributes["text"].encode())
        for trace_id in run.trace_ids()
        for span in run.trace(trace_id).own()
        if "text" in span.attributes
    }
    assert max(sizes) == 65_536
    assert run.terminate().code == 0
    assert not any("lost" in line for line in run.logs())
