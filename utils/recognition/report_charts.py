"""Inline SVG of the report page: a rate with its interval in a table's row, and rates of ordered groups."""

import math
from collections.abc import Sequence

from utils.recognition.error_analysis import Group

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 210, 40, 12, 46


def axis_limit(groups: Sequence[Group]) -> float:
    """The highest rate and upper end of an interval, at least 0.01: the end of an axis that starts at 0."""
    ends = (max(group.counts.rate, group.interval[1] if group.interval else 0) for group in groups)
    return max(0.01, *ends)


def rate_row(group: Group, limit: float, overall: float) -> str:
    """A rate as a dot on its interval, with a dashed line at the overall rate; the row is `limit` wide."""
    def place(rate: float) -> str:
        return f'{100 * min(1.0, rate / limit):.2f}%'

    low, high = group.interval or (group.counts.rate, group.counts.rate)
    dashes = f'<line class="overall" x1="{place(overall)}" x2="{place(overall)}" y1="0" y2="14"/>'
    interval = f'<line class="interval" x1="{place(low)}" x2="{place(high)}" y1="7" y2="7"/>'
    dot = f'<circle class="rate" cx="{place(group.counts.rate)}" cy="7" r="3.5"/>'
    return f'<svg aria-hidden="true">{dashes}{interval}{dot}</svg>'


def _tick_step(limit: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides an axis into two to five parts."""
    power = 10 ** math.floor(math.log10(limit))
    return next(step for step in (power / 5, power / 2, power, 2 * power) if limit / step <= 5)


def rate_chart(bins: Sequence[tuple[str, Group]], overall: float, title: str, axis: str) -> str:
    """Rates of groups in order, with intervals and the number of utterances below each label.

    Args:
      bins: label and group, from left to right. The caller's labels are numbers and need no escape.
      overall: rate of all utterances, drawn as a dashed line.
      title: description of the chart for screen readers.
      axis: caption of the horizontal axis.
    """
    limit = 1.05 * axis_limit([group for _, group in bins])
    spacing, bottom = (_WIDTH - _LEFT) / len(bins), _HEIGHT - _BOTTOM
    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">']

    def height(rate: float) -> float:
        return round(bottom - (bottom - _TOP) * rate / limit, 1)

    step = _tick_step(limit)
    for number in range(int(limit / step) + 1):
        y = height(number * step)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5}" text-anchor="end">{100 * number * step:g} %</text>')
    y = height(overall)
    parts.append(f'<line class="overall" x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
    centres = [round(_LEFT + spacing * (place + 0.5), 1) for place in range(len(bins))]
    rates = [height(group.counts.rate) for _, group in bins]
    points = ' '.join(f'{x},{y}' for x, y in zip(centres, rates, strict=True))
    parts.append(f'<polyline class="join" points="{points}"/>')
    for x, y, (label, group) in zip(centres, rates, bins, strict=True):
        if group.interval:
            low, high = map(height, group.interval)
            parts.append(f'<line class="interval" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
        parts.append(f'<circle class="rate" cx="{x}" cy="{y}" r="3.5"/>')
        parts.append(f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{x}" y="{bottom + 26}" text-anchor="middle" opacity=".7">{group.utterances:,}</text>')
    middle = (_WIDTH + _LEFT) / 2
    return ''.join([*parts, f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{axis}</text></svg>'])
