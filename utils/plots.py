"""Figures of a run, drawn with matplotlib's Agg canvas: no display, no global state, the same bytes for the same data.

matplotlib is imported when the first figure is drawn, because the import takes most of a second.
"""

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 20_000  # of an index in a scatter plot; of a larger one, every second, third, ... point
CJK_FONTS = ('Noto Sans CJK SC', 'Noto Sans SC', 'WenQuanYi Zen Hei', 'WenQuanYi Micro Hei', 'SimHei', 'PingFang SC')


def draw_curves(
    history_records: Sequence[Mapping[str, Any]], path: str | os.PathLike, loss_unit: str = 'nats / utterance'
) -> None:
    """Draws loss, error rates and learning rate over the epochs.

    Args:
      history_records: records in order of epochs, with ``epoch`` and any of ``train_loss``, ``dev_loss``, ``wer``,
        ``cer`` (fractions) and ``learning_rate``, and those on dev of each index, such as ``wer/NAME``. Values that are
        absent or not finite leave a gap.
      path: PNG file to write, atomically.
      loss_unit: unit of the loss, for the axis label.
    """
    panels = (
        ('Loss', f'loss ({loss_unit})', {'train_loss': 'train', 'dev_loss': 'dev'}, 1.0),
        ('Errors on dev', 'error rate (%)', {'wer': 'WER', 'cer': 'CER'}, 100.0),
        ('Learning rate', 'learning rate', {'learning_rate': ''}, 1.0),
    )
    drawn = [panel for panel in panels if any(len(_series(history_records, key)[0]) for key in panel[2])]
    with _figure(path, 5.0 * max(1, len(drawn)), 4.0) as figure:
        axes = figure.subplots(1, max(1, len(drawn)), squeeze=False)[0]
        if not drawn:
            axes[0].set(title='No values yet', xlabel='epoch', ylabel='loss')
        for axis, (title, unit, curves, scale) in zip(axes, drawn, strict=False):
            for key, label in _with_indexes(curves, history_records).items():
                epochs, values = _series(history_records, key)
                if len(epochs):
                    axis.plot(epochs, values * scale, marker='.', label=label or None)
            axis.set(title=title, xlabel='epoch', ylabel=unit)
            _finish_axis(axis, is_log=title == 'Learning rate')


def draw_attention(weights: np.ndarray, symbols: Sequence[str], secs_per_frame: float, path: str | os.PathLike) -> None:
    """Draws the attention weights of each output symbol over the input.

    Args:
      weights: float `[symbols, frames]`, each row sums to 1.
      symbols: output symbols, one for each row.
      secs_per_frame: time step of an encoder frame, seconds.
      path: PNG file to write, atomically.

    Raises:
      ValueError: weights of another shape.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2 or len(weights) != len(symbols):
        raise ValueError(f'weights of shape {weights.shape} for {len(symbols)} symbols; need [symbols, frames]')
    num_symbols, num_frames = weights.shape
    duration_secs = num_frames * secs_per_frame
    width, height = min(16.0, max(6.0, 2.0 + duration_secs)), min(24.0, max(3.0, 1.0 + 0.16 * num_symbols))  # inches
    with _figure(path, width, height) as figure:
        axis = figure.subplots()
        extent = 0.0, max(duration_secs, secs_per_frame), -0.5, max(num_symbols, 1) - 0.5
        image = axis.imshow(
            weights, origin='lower', aspect='auto', interpolation='nearest', cmap='viridis', extent=extent
        )
        labels = ['␣' if symbol in (' ', '<SPACE>') else symbol for symbol in symbols]
        axis.set_yticks(range(num_symbols), labels, fontsize=7)
        axis.set(title='Attention', xlabel='input (s)', ylabel='output symbol, upwards')
        figure.colorbar(image, ax=axis, label='weight')


def draw_surface(
    points: Sequence[tuple[float, float, float]], rate_name: str, title: str, path: str | os.PathLike
) -> None:
    """Draws the error rate as a function of LM weight and word bonus.

    Args:
      points: tried ``(lm_weight, word_bonus, rate)``, the rate a fraction, the best first; they need no grid, but must
        not be collinear.
      rate_name: name of the rate, WER or CER.
      title: title of the figure.
      path: PNG file to write, atomically.
    """
    lm_weights, word_bonuses, rates = np.array(points, np.float64).T
    rates = 100.0 * rates
    # far from the best point the rates rise towards 100 %; on that scale the points near it would look the same
    top = max(min(rates.max(), 2 * rates[0]), rates[0] + 0.1)
    with _figure(path, 7.0, 5.0) as figure:
        axis = figure.subplots()
        levels = np.linspace(rates[0], top, 13)
        filled = axis.tricontourf(lm_weights, word_bonuses, rates, levels, cmap='viridis_r', extend='max')
        axis.plot(lm_weights, word_bonuses, '.', color='black', markersize=3, label='tried')
        axis.plot(lm_weights[0], word_bonuses[0], '*', color='red', markersize=14, label=f'best: {rates[0]:.2f} %')
        axis.set(title=title, xlabel='lm_weight', ylabel='word_bonus')
        axis.legend()
        figure.colorbar(filled, ax=axis, label=f'{rate_name} (%)', format='%.1f')


def draw_rates(
    panels: Mapping[str, Mapping[str, Sequence[float]]], rate_name: str, path: str | os.PathLike
) -> None:
    """Draws the error rates of experiments: a dot for each seed and a bar at the median of each row.

    Args:
      panels: title of each panel, and the rates (%) of each row by name.
      rate_name: name of the rate, WER or CER.
      path: PNG file to write, atomically.
    """
    most = max(map(len, panels.values()))
    with _figure(path, 2.0 + 4.5 * len(panels), 1.5 + 0.35 * most) as figure:
        for axis, (title, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            for place, rates in enumerate(rows.values()):
                axis.plot(rates, [place] * len(rates), 'o', color='tab:blue', alpha=0.6)
                axis.plot([float(np.median(rates))] * 2, [place - 0.35, place + 0.35], color='black', linewidth=2)
            axis.set_yticks(range(len(rows)), [name.replace('$', r'\$') for name in rows])
            axis.set(title=title, xlabel=f'{rate_name} (%)', ylim=(len(rows) - 0.5, -0.5))
            axis.grid(True, axis='x', alpha=0.3)


def draw_rates_over(
    curves: Mapping[str, Mapping[float, Sequence[float]]], x_label: str, rate_name: str, path: str | os.PathLike
) -> None:
    """Draws error rates as functions of a quantity, on a logarithmic axis: dots for seeds, a line through the medians.

    Args:
      curves: label of each curve, and its rates (%) by the quantity.
      x_label: name and unit of the quantity.
      rate_name, path: as in `draw_rates`.
    """
    with _figure(path, 7.0, 5.0) as figure:
        axis = figure.subplots()
        for label, points in curves.items():
            places = sorted(points)
            medians = [float(np.median(points[place])) for place in places]
            (line,) = axis.plot(places, medians, label=label.replace('$', r'\$'))
            for place in places:
                axis.plot([place] * len(points[place]), points[place], 'o', color=line.get_color(), alpha=0.6)
        ticks = sorted({place for points in curves.values() for place in points})
        axis.set(xscale='log', xlabel=x_label, ylabel=f'{rate_name} (%)')
        axis.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.grid(True, alpha=0.3)
        axis.legend()


def _with_indexes(curves: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Labels of curves by key, and of those of each index: `wer/NAME` beside `wer`."""
    keys = dict.fromkeys(key for record in records for key in record if '/' in key)
    parts = {key: key.partition('/') for key in keys}
    named = {key: f'{curves[curve]}, {name}' for key, (curve, _, name) in parts.items() if curve in curves}
    return {**curves, **{key: label.replace('$', r'\$') for key, label in named.items()}}  # no mathematics


def draw_indexes(
    names: Sequence[str],
    durations: Sequence[np.ndarray],
    symbols: Sequence[np.ndarray],
    speaker_minutes: Sequence[Sequence[float]],
    secs_per_output: float,
    path: str | os.PathLike,
) -> None:
    """Draws durations, speaking rates, transcript lengths and speakers of one index or more, one colour each.

    Args:
      names: names of the indexes, for the legend.
      durations: seconds of the utterances of each index, float `[utterances]`.
      symbols: numbers of symbols of their transcripts, int `[utterances]`.
      speaker_minutes: minutes of each speaker of each index; empty where no speakers are named.
      secs_per_output: time step of an output frame, seconds; transcripts above this line cannot fit under CTC.
      path: PNG file to write, atomically.
    """
    with _figure(path, 12.0, 8.0) as figure:
        (lengths, rates), (fits, speakers) = figure.subplots(2, 2)
        longest = max(float(each.max()) for each in durations)
        rate_of = [count / secs for count, secs in zip(symbols, durations, strict=True)]
        fastest = max(float(each.max()) for each in rate_of) or 1.0
        labels = [name.replace('$', r'\$') for name in names]  # no mathematics
        for name, secs, count, rate, minutes in zip(labels, durations, symbols, rate_of, speaker_minutes, strict=True):
            for axis, values, top in ((lengths, secs, longest), (rates, rate, fastest)):
                weights = np.full(len(values), 100 / len(values))
                axis.hist(values, 60, range=(0, top), weights=weights, histtype='step', label=name)
            shown = slice(None, None, -(-len(secs) // MAX_POINTS))
            fits.plot(secs[shown], count[shown], '.', markersize=2, label=name)
            speakers.plot(np.arange(1, len(minutes) + 1), sorted(minutes, reverse=True), marker='.', label=name)
        limit = [0, longest], [0, longest / secs_per_output]
        fits.plot(*limit, color='black', linewidth=1, label='limit of CTC')
        lengths.set(title='Durations', xlabel='duration (s)', ylabel='utterances (%)')
        rates.set(title='Speaking rate', xlabel='symbols a second', ylabel='utterances (%)')
        fits.set(title='Transcripts', xlabel='duration (s)', ylabel='symbols')
        fits.set_ylim(0, 1.2 * max(float(count.max()) for count in symbols) or 1.0)
        speakers.set(title='Speakers', xlabel='speaker, by amount of speech', ylabel='speech (minutes)')
        for axis in (lengths, rates, fits, speakers):
            axis.grid(True, alpha=0.3)
            axis.legend(fontsize=8)


def _series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of a key, without those that are absent or not finite."""
    points = [(record['epoch'], record[key]) for record in records if record.get(key) is not None]
    epochs, values = np.array([point for point in points if math.isfinite(point[1])], np.float64).reshape(-1, 2).T
    return epochs, values


def _finish_axis(axis: 'Axes', is_log: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    lines = axis.get_lines()
    if is_log and any((np.asarray(line.get_ydata()) > 0).any() for line in lines):
        axis.set_yscale('log')
    else:
        axis.set_ylim(bottom=0)
    axis.grid(True, alpha=0.3)
    if any(not str(line.get_label()).startswith('_') for line in lines):
        axis.legend()


@contextlib.contextmanager
def _figure(path: str | os.PathLike, width_inches: float, height_inches: float) -> Iterator['Figure']:
    """Yields a figure in matplotlib's default style, with Chinese fonts where installed; saves it at the end."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = {font.name for font in font_manager.fontManager.ttflist}
    style: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != 'backend'}
    style['font.sans-serif'] = ['DejaVu Sans', *(name for name in CJK_FONTS if name in present)]
    style['font.family'] = style['font.sans-serif']
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width_inches, height_inches), dpi=100, layout='constrained')
        FigureCanvasAgg(figure)
        yield figure
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary_path, warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Glyph .* missing from')  # shown as boxes
            figure.savefig(temporary_path, format='png', metadata={'Software': None})
