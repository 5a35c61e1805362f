"""Few cases that stand for all: every two values of two dimensions meet in one of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def pairs(case: Mapping[str, str]) -> set[frozenset[tuple[str, str]]]:
    """Return what meets in `case`."""
    return {frozenset(pair) for pair in itertools.combinations(case.items(), 2)}


def pairwise(dimensions: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return cases of `dimensions`, values by name, most pairs first."""
    candidates = [dict(zip(dimensions, values, strict=True)) for values in itertools.product(*dimensions.values())]
    missing = set[frozenset[tuple[str, str]]]().union(*map(pairs, candidates))
    chosen = []
    while missing:
        chosen.append(max(candidates, key=lambda case: len(pairs(case) & missing)))
        missing -= pairs(chosen[-1])
    return chosen
