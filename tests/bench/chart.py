"""The chart of one run: server CPU for each request, as SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from tests.bench.figures import Samples
from tests.bench.variants import UNTRACED

if TYPE_CHECKING:
    from tests.bench.variants import Stack

_ROW: Final = 26
_LABEL: Final = 250
_BARS: Final = 430
_WIDTH: Final = _LABEL + _BARS + 240
_TOP: Final = 48
_READING: Final = "line: lowest to highest round; lost: single requests / burst, when the CPU is taken away"
_COLOURS: Final = {"untraced": "#8a8f98", "ours": "#1f77b4", "rival": "#d1793b"}


def svg(stack: Stack, run: dict[str, Any]) -> str:
    """Return one bar for each variant, with its range; beside it the ratio and, where it was measured, the loss."""
    samples = Samples(run["samples"])
    rivals = {variant.name for variant in stack.rivals}
    names = samples.variants("load")
    figures = {name: samples.figure("load", name, "cpu") for name in names}
    scale = _BARS / max(figure.high for figure in figures.values())
    height = _TOP + _ROW * len(names) + 12
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="20" font-size="15">{escape(stack.name)}: server CPU for each request, µs</text>',
        f'<text x="12" y="38" fill="#555">{_READING}</text>',
    ]
    for row, name in enumerate(names):
        figure = figures[name]
        kind = "untraced" if name == UNTRACED else "rival" if name in rivals else "ours"
        middle = _TOP + _ROW * row + _ROW / 2
        low, end, high = (_LABEL + value * scale for value in (figure.low, figure.median, figure.high))
        lines += [
            f'<text x="{_LABEL - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{middle - 8:.0f}" width="{end - _LABEL:.1f}" height="16" fill="{_COLOURS[kind]}"/>',
            f'<path d="M{low:.1f} {middle:.0f}H{high:.1f}" stroke="black"/>',
            f'<text x="{high + 6:.1f}" y="{middle + 4:.0f}">{escape(_beside(samples, name))}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _beside(samples: Samples, name: str) -> str:
    said = f"{samples.figure('load', name, 'cpu').median * 1e6:.0f}"
    if name != UNTRACED:
        said += f", ratio {samples.ratio('load', name).median:.2f}"
    lost = samples.of("loss", name)
    return said + (f", lost {lost[0]['single']:.0%} / {lost[0]['burst']:.0%}" if lost else "")
