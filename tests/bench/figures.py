"""From samples to figures: always the median over rounds, of what is compared with what stood next to it in time."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.variants import UNTRACED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.bench.plan import Sample


@dataclass(frozen=True)
class Figure:
    """A median, and the range that it comes from."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        listed = list(values)
        return cls(statistics.median(listed), min(listed), max(listed))

    def shown(self, unit: float = 1, digits: int = 2) -> str:
        """Return `median (low-high)` in `unit`."""
        median, low, high = (f"{value / unit:.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{median} ({low}…{high})"


def _around(samples: Sequence[Sample], number: int, key: str) -> float:
    before = [sample for sample in samples if sample["number"] <= number][-1:]
    after = [sample for sample in samples if sample["number"] >= number][:1]
    return statistics.fmean(sample[key] for sample in before + after)


class Samples:
    """The samples of one run."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def variants(self, section: str) -> list[str]:
        """Return the variants of a section, in their order."""
        return list(dict.fromkeys(sample["variant"] for sample in self._samples if sample["section"] == section))

    def of(self, section: str, variant: str, **point: int) -> list[Sample]:
        """Return a variant's samples in the order of the rounds."""
        wanted = {"section": section, "variant": variant, **point}
        return [sample for sample in self._samples if wanted.items() <= sample.items()]

    def figure(self, section: str, variant: str, key: str, **point: int) -> Figure:
        return Figure.of(sample[key] for sample in self.of(section, variant, **point))

    def compared(self, section: str, variant: str, key: str, how: Callable[[float, float], float]) -> Figure:
        """Return `how(untraced, variant)`, each time with what untraced came to just before and after."""
        untraced = self.of(section, UNTRACED)
        return Figure.of(
            how(_around(untraced, sample["number"], key), sample[key]) for sample in self.of(section, variant)
        )

    def ratio(self, section: str, variant: str, **point: int) -> Figure:
        """Return server CPU for each request, untraced ÷ traced."""
        return self.figure(section, variant, "ratio", **point)

    def added(self, section: str, variant: str, key: str) -> Figure:
        """Return by how much `key` is above that of the untraced app."""
        return self.compared(section, variant, key, lambda untraced, traced: traced - untraced)

    def points(self, key: str) -> list[int]:
        """Return the sizes that growth was measured at."""
        return sorted({sample[key] for sample in self._samples if sample["section"] == "growth" and key in sample})
