"""The bench measures what it says, and refuses to say what tracing costs while spans are missing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.bench.errors import BenchError
from tests.bench.plan import Plan
from tests.bench.run import measure
from tests.bench.steps import BACK_END_DOWN, SINK
from tests.bench.tools import Cores, Tools
from tests.bench.under_load import under_load
from tests.bench.variants import STACKS, UNTRACED, Stack

if TYPE_CHECKING:
    from pathlib import Path

SHORTEST = Plan(
    rounds=1,
    rival_rounds=1,
    turns=2,
    seconds=0.1,
    late=0,
    lone_rounds=1,
    lone_seconds=0.2,
    cold_starts=3,
    growth_rounds=1,
    growth_seconds=0.2,
    connections=(1, 8),
    spans=(1, 3),
)
stacks = pytest.mark.parametrize("stack", STACKS, ids=[stack.name for stack in STACKS])


@pytest.mark.slow
@pytest.mark.alone
@stacks
def test_a_run_gives_a_report_with_every_row(stack: Stack, tmp_path: Path) -> None:
    report = measure(stack, SHORTEST, tmp_path)
    text = report.read_text()
    for variant in [UNTRACED, *(each.name for each in stack.traced), SINK, BACK_END_DOWN]:
        assert f"\n| {variant} |" in text, variant
    for goal in stack.goals.ratios:
        assert f"\n| {goal}, ratio |" in text, goal
    chart = (report.parent / "chart.svg").read_text()
    assert all(variant.name in chart.replace("&#x27;", "'") for variant in stack.traced)
    samples = json.loads((report.parent / "run.json").read_text())["samples"]
    assert all(sample["cpu"] > 0 for sample in samples if sample["section"] in {"load", "growth"})
    assert {sample["single"] for sample in samples if sample["variant"] == "on-idle 1.0" and "single" in sample} == {0}


@stacks
@pytest.mark.parametrize("arriving", [pytest.param("half", marks=pytest.mark.slow), "all"])
def test_a_wrong_count_of_spans_gives_no_figure(stack: Stack, arriving: str) -> None:
    variant = stack.variant("on-idle 1.0")
    ratio = {"half": "0.5", "all": "1"}[arriving]
    sampled = replace(variant, environment={**variant.environment, "OTEL_TRACES_SAMPLER_ARG": ratio})
    with Tools(Cores.of_this_machine()) as tools:
        if arriving == "all":
            assert [sample["cpu"] > 0 for sample in under_load(stack, sampled, SHORTEST, tools)] == [True, True]
        else:
            with pytest.raises(BenchError, match="SERVER spans arrived"):
                list(under_load(stack, sampled, SHORTEST, tools))
