"""ASGI requests with trace headers, well-formed and not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tracerun.propagation import READ_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping


def asgi_scope(headers: Mapping[str, Any]) -> dict[str, Any]:
    raw = [
        (name.encode(), value.encode("latin-1"))
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return {"type": "http", "method": "GET", "path": "/", "http_version": "1.1", "headers": raw}


trace_ids = st.sampled_from(["4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32, "f" * 32, "4BF9" * 8, "a" * 31, "a" * 33])
span_ids = st.sampled_from(["00f067aa0ba902b7", "0" * 16, "f" * 16, "a" * 15, ""])
numbers = st.integers(0, 10**30).map(str) | st.integers(0, 9).map(str)
header_values = st.one_of(
    st.text(st.characters(max_codepoint=0xFF), max_size=50),
    st.builds("{}-{}-{}-{}".format, st.sampled_from(["00", "01", "ff", "0"]), trace_ids, span_ids, numbers),
    st.builds("00-{}-{}-{:02x}".format, trace_ids, span_ids, st.integers(0, 255)),
    st.builds("{}/{};o={}".format, trace_ids, numbers, numbers),
    st.just("0" * 100_000),
)


well_formed = st.builds(
    "00-{}-{}-{:02x}".format,
    st.sampled_from(["4b" * 16, "a" * 32]),
    st.sampled_from(["00f067aa0ba902b7", "f" * 16]),
    st.integers(0, 255),
)
plain = st.fixed_dictionaries(
    {"traceparent": st.tuples(well_formed)},
    optional={"original-traceparent": st.tuples(well_formed), "x-request-attempt": st.tuples(numbers)},
)
mixed = st.fixed_dictionaries(
    {"traceparent": st.tuples(well_formed)},
    optional={
        "original-traceparent": st.tuples(well_formed | header_values),
        "x-cloud-trace-context": st.tuples(header_values),
        "tracestate": st.tuples(header_values | st.just("vendor=value")),
        "baggage": st.tuples(header_values | st.just("tenant=blue")),
        "x-request-timeout-ms": st.tuples(header_values | numbers),
        "x-request-attempt": st.tuples(header_values | numbers),
        "accept": st.tuples(header_values),
    },
)
wild = st.dictionaries(
    st.sampled_from(sorted(READ_HEADERS)), st.lists(header_values | well_formed, min_size=1, max_size=2)
)
# Nearly plain: what a reader that is in a hurry may take for it.
twice = st.fixed_dictionaries({"traceparent": st.lists(well_formed, min_size=2, max_size=2)})
altered = st.fixed_dictionaries(
    {
        "traceparent": st.tuples(
            st.one_of(well_formed.map(str.upper), well_formed.map(" {} ".format), well_formed.map("{}-".format))
        )
    }
)
header_lists = plain | mixed | wild | twice | altered
