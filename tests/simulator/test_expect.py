"""expect.yaml says what a request gives across services; which calls there are stands in topology.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cloudrun import Span, Trace, expect, topology
from cloudrun.errors import TopologyError

from tests.simulator.systems import CHAIN, EXPECT

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = ["api", "pricing", "inventory"]
LABELS = ("SERVER GET /items/{id}", "CLIENT GET")


def span(span_id: str, parent_id: str | None, service: str, label: str, **more: bool) -> Span:
    kind, _, name = label.partition(" ")
    return Span("t", span_id, parent_id, name, kind, service, 0, 1, **more)  # type: ignore[arg-type]


def chain(**parents: str) -> Trace:
    """The trace of a chain: a, b of api, c, d of pricing, e of inventory; `parents` are other parents than those."""
    server, client = LABELS
    of = {"a": ("api", server), "b": ("api", client), "c": ("pricing", server), "d": ("pricing", client)}
    of["e"] = ("inventory", server)
    before: dict[str, str | None] = {"a": None, "b": "a", "c": "b", "d": "c", "e": "d", **parents}
    return Trace("t", [span(key, before[key], *of[key]) for key in of])


@pytest.fixture
def expected(tmp_path: Path) -> expect.Expected:
    (tmp_path / "e2e").mkdir()
    (tmp_path / "e2e" / "expect.yaml").write_text(EXPECT)
    (found,) = expect.load(tmp_path, SERVICES)
    return found


def test_a_span_is_of_the_service_before_it_unless_one_stands_in_front(expected: expect.Expected) -> None:
    server, client = LABELS
    assert [str(span) for span in expected.spans] == [
        f"api {server}",
        f"api {client}",
        f"pricing {server}",
        f"pricing {client}",
        f"inventory {server}",
    ]
    assert expected.services == set(SERVICES)


def test_each_span_must_be_a_child_of_the_one_before(expected: expect.Expected) -> None:
    assert [span.span_id for span in expected.path_in(chain())] == list("abcde")
    with pytest.raises(
        LookupError, match=r"^no span is pricing SERVER .* below api CLIENT GET; there are \['api SERVER"
    ):
        expected.path_in(chain(c="a"))
    with pytest.raises(LookupError, match=r"^no span is inventory SERVER .* below pricing CLIENT GET;"):
        expected.path_in(chain(e="nobody"))
    assert not expected.is_in(Trace("t", chain().spans[:4]))
    assert not expected.is_in(Trace("t", []))


def test_of_two_calls_with_one_name_the_one_that_goes_on_is_taken(expected: expect.Expected) -> None:
    other = span("x", "a", "api", "CLIENT GET")
    assert [span.span_id for span in expected.path_in(Trace("t", [other, *chain().spans]))] == list("abcde")


def test_the_platforms_span_does_not_stand_for_a_services(expected: expect.Expected) -> None:
    spans = [span for span in chain().spans if span.span_id != "a"]
    platform = span("a", None, "api", LABELS[0], by_platform=True)
    with pytest.raises(LookupError, match="no span is api SERVER"):
        expected.path_in(Trace("t", [platform, *spans]))


def load(folder: Path, services: str) -> topology.Topology:
    data = "project: orders\nregion: europe-west1\nexporter: direct\nservices:\n" + services
    (folder / "topology.yaml").write_text(data)
    frameworks = '{"type": "object"}'
    (folder / "topology.schema.json").write_text(frameworks)
    return topology.load(folder)


def test_calls_are_seen_where_the_callees_span_is_a_child_of_the_callers(tmp_path: Path) -> None:
    system = load(tmp_path, CHAIN)
    calls = {("api", "pricing"), ("pricing", "inventory")}
    assert expect.calls_seen(system, [chain()]) == calls
    assert expect.calls_seen(system, [chain(c="nobody")]) == {("pricing", "inventory")}
    assert expect.calls_seen(system, [chain(e="a")]) == {("api", "pricing")}, "a SERVER span is no call"
    assert expect.calls_seen(system, []) == set()


def test_a_public_callee_shares_the_trace_only(tmp_path: Path) -> None:
    system = load(tmp_path, CHAIN.replace("private", "public"))
    assert expect.calls_seen(system, [chain(c="nobody")]) == {("api", "pricing"), ("pricing", "inventory")}


@pytest.mark.parametrize(
    ("services", "mistakes"),
    [
        (CHAIN, []),
        (CHAIN.replace("calls: [inventory]", "calls: []"), ["inventory"]),
        (CHAIN.replace("access: public", "ingress: internal"), ["api", "pricing", "inventory"]),
        (
            CHAIN.replace("calls: [pricing]", "calls: [pricing, api]").replace("access: public", "ingress: internal"),
            None,
        ),
        (CHAIN.replace("ingress: internal\n    calls", "ingress: all\n    calls").replace("[pricing]", "[]"), []),
    ],
    ids=["chain", "nobody calls", "no way in", "itself", "another way in"],
)
def test_an_internal_service_that_nobody_could_reach_is_a_mistake(
    tmp_path: Path, services: str, mistakes: list[str] | None
) -> None:
    if mistakes == []:
        assert set(load(tmp_path, services).services) == set(SERVICES)
        return
    with pytest.raises(TopologyError) as raised:
        load(tmp_path, services)
    lines = str(raised.value).splitlines()
    if mistakes is None:
        assert any("services.api.ingress: internal, so nobody could reach it" in line for line in lines)
    else:
        assert [line.split(": ")[1] for line in lines] == [f"services.{name}.ingress" for name in mistakes]
