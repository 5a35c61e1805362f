"""The Telemetry API's limits on one span, in bytes: https://docs.cloud.google.com/stackdriver/quotas#telemetry-api.

The SDK's own limits count characters, and of attribute values only, so a span is cut once more before it leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.trace import Link, Status

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

_Item = TypeVar("_Item", bound="AnyValue")

_log = logging.getLogger(__name__)

NAME_BYTES: Final = 1024
KEY_BYTES: Final = 512
VALUE_BYTES: Final = 64 * 1024
SPAN_ATTRIBUTES: Final = 1024
EVENTS: Final = 256
LINKS: Final = 128
REQUEST_ATTRIBUTES: Final = 8192
"""Attributes of resource, spans, events and links together in one ResourceSpans, so in one export."""

DESCRIPTION_BYTES: Final = 4096
"""Of a status; the API names no limit."""

_FIXED_BYTES: Final = 1024
_ATTRIBUTE_BYTES: Final = 32
_NUMBER_BYTES: Final = 8


def sdk_limits() -> SpanLimits:
    """Return limits for the SDK that bound a span's memory while it is recorded.

    OpenTelemetry's variables `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT` and `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT` set others
    for the attributes of spans.
    """
    limits = partial(
        SpanLimits,
        max_attributes=SPAN_ATTRIBUTES,
        max_events=EVENTS,
        max_links=LINKS,
        max_event_attributes=SPAN_ATTRIBUTES,
        max_link_attributes=SPAN_ATTRIBUTES,
        max_attribute_length=VALUE_BYTES,
    )
    try:
        return limits()
    except ValueError as error:
        _log.warning("%s: the Telemetry API's own limit serves", error)
        return limits(max_span_attributes=SPAN_ATTRIBUTES, max_span_attribute_length=VALUE_BYTES)


def within_limits(span: ReadableSpan) -> ReadableSpan:
    """Return `span` itself if it is within the limits, else a copy whose names, keys and values are cut to them."""
    if (
        _fits(span.name, NAME_BYTES)
        and _fits(span.status.description or "", DESCRIPTION_BYTES)
        and all(_fits(event.name, NAME_BYTES) for event in span.events)
        and all(_all_fit(attributes) for attributes in _all_attributes(span))
    ):
        return span
    return ReadableSpan(
        name=_cut(span.name, NAME_BYTES),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_cut_all(span.attributes),
        events=[
            Event(_cut(event.name, NAME_BYTES), _cut_all(event.attributes), event.timestamp) for event in span.events
        ],
        links=[Link(link.context, _cut_all(link.attributes)) for link in span.links],
        kind=span.kind,
        status=_cut_status(span.status),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _all_attributes(span: ReadableSpan) -> list[Mapping[str, AnyValue] | None]:
    return [
        span.attributes,
        *(event.attributes for event in span.events),
        *(link.attributes for link in span.links),
    ]


def weight(span: ReadableSpan) -> tuple[int, int]:
    """Return about how much memory `span` takes, in bytes, and how many attributes it brings into an export."""
    description = span.status.description
    size, count = _weight(span.attributes)
    parts: list[Event | Link] = [*span.events, *span.links]
    for part in parts:
        part_size, part_count = _weight(part.attributes)
        size, count = size + part_size, count + part_count
    return _FIXED_BYTES + size + (len(description) if description else 0), count


def _weight(attributes: Mapping[str, AnyValue] | None) -> tuple[int, int]:
    if not attributes:
        return 0, 0
    plain = as_dict(attributes)
    size = 0
    for value in plain.values():
        size += len(value) if isinstance(value, (str, bytes)) else _ATTRIBUTE_BYTES
    return size, len(plain)


def as_dict(attributes: Mapping[str, AnyValue]) -> Mapping[str, AnyValue]:
    """Return `attributes`, as a dict if they are an ended span's: those are slow to go through one by one."""
    return attributes.copy() if isinstance(attributes, MappingProxyType) else attributes


def _fits(text: str, limit: int) -> bool:
    """Tell whether `text` can be sent as it is: short enough, and no lone surrogates, which UTF-8 cannot say."""
    if text.isascii():
        return len(text) <= limit
    try:
        return len(text.encode()) <= limit
    except UnicodeEncodeError:
        return False


def _cut_status(status: Status) -> Status:
    if status.description is None:
        return status
    return Status(status.status_code, _cut(status.description, DESCRIPTION_BYTES))


def _all_fit(attributes: Mapping[str, AnyValue] | None) -> bool:
    return all(_fits(key, KEY_BYTES) and _value_fits(value) for key, value in (attributes or {}).items())


def _value_fits(value: AnyValue) -> bool:
    if isinstance(value, str):
        return _fits(value, VALUE_BYTES)
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, bytes):
        return _size(value) <= VALUE_BYTES and _is_encodable(value)
    return _size(value) <= VALUE_BYTES


def _is_encodable(value: AnyValue) -> bool:
    if isinstance(value, str):
        return _fits(value, VALUE_BYTES)
    if isinstance(value, bytes):
        return True
    if isinstance(value, Mapping):
        return all(_is_encodable(key) and _is_encodable(item) for key, item in value.items())
    return not isinstance(value, Sequence) or all(_is_encodable(item) for item in value)


def _size(value: AnyValue) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_size(key) + _size(item) for key, item in value.items())
    if isinstance(value, Sequence):
        return sum(_size(item) for item in value)
    return _NUMBER_BYTES


def _cut(text: str, limit: int) -> str:
    return text if _fits(text, limit) else text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _cut_all(attributes: Mapping[str, AnyValue] | None) -> dict[str, AnyValue]:
    return {_cut(key, KEY_BYTES): _cut_value(value) for key, value in (attributes or {}).items()}


def _cut_value(value: AnyValue) -> AnyValue:
    if isinstance(value, str):
        return _cut(value, VALUE_BYTES)
    if isinstance(value, bytes):
        return value[:VALUE_BYTES]
    if isinstance(value, Mapping):
        return {_cut(key, KEY_BYTES): _cut_value(item) for key, item in _first_that_fit(value.items())}
    if isinstance(value, Sequence):
        return [_cut_value(item) for item in _first_that_fit(value)]
    return value


def _first_that_fit(items: Iterable[_Item]) -> Iterable[_Item]:
    left = VALUE_BYTES
    for item in items:
        left -= _size(item)
        if left < 0:
            return
        yield item
