"""Figures: contents, complete files, and equal bytes for equal data."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from utils import plots

HISTORY = [
    {'epoch': 0, 'step': 10, 'train_loss': 90.0, 'dev_loss': 80.0, 'wer': 1.0, 'cer': 0.7, 'learning_rate': 1e-4},
    {'epoch': 1, 'step': 20, 'train_loss': 50.0, 'dev_loss': 60.0, 'wer': 0.6, 'cer': 0.3, 'learning_rate': 8e-4},
]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, as they were saved."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *a, **k: (saved.append(figure), save(figure, *a, **k)))
    return saved


def is_png(path):
    return path.read_bytes().startswith(b'\x89PNG') and path.read_bytes().endswith(b'IEND\xaeB`\x82')


def test_curves_show_losses_error_rates_in_percent_and_learning_rate(tmp_path, figures):
    plots.draw_curves(HISTORY, tmp_path / 'curves.png')
    loss, errors, rate = figures[0].axes
    values = {line.get_label(): line.get_ydata().tolist() for axis in (loss, errors) for line in axis.get_lines()}
    assert values == {'train': [90.0, 50.0], 'dev': [80.0, 60.0], 'WER': [100.0, 60.0], 'CER': [70.0, 30.0]}
    assert rate.get_yscale() == 'log'
    assert rate.get_lines()[0].get_ydata().tolist() == [1e-4, 8e-4]
    assert all(axis.get_xlabel() == 'epoch' and axis.get_ylabel() and axis.get_title() for axis in figures[0].axes)
    assert is_png(tmp_path / 'curves.png')


def test_one_epoch_can_be_drawn(tmp_path, figures):
    plots.draw_curves(HISTORY[:1], tmp_path / 'curves.png')
    assert len(figures[0].axes) == 3
    assert is_png(tmp_path / 'curves.png')


def test_no_epoch_can_be_drawn(tmp_path):
    plots.draw_curves([], tmp_path / 'curves.png')
    assert is_png(tmp_path / 'curves.png')


def test_absent_and_infinite_values_leave_gaps(tmp_path, figures):
    history = [{'epoch': 0, 'train_loss': math.inf, 'dev_loss': None}, {'epoch': 1, 'train_loss': 5.0}]
    plots.draw_curves(history, tmp_path / 'curves.png')
    (loss,) = figures[0].axes
    assert loss.get_lines()[0].get_xydata().tolist() == [[1.0, 5.0]]


def test_same_history_gives_the_same_bytes(tmp_path):
    for name in ('a.png', 'b.png'):
        plots.draw_curves(HISTORY, tmp_path / name)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


def test_existing_figure_survives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / 'curves.png'
    path.write_bytes(b'old')

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='No space'):
        plots.draw_curves(HISTORY, path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['curves.png']


def test_attention_has_seconds_across_and_symbols_up(tmp_path, figures):
    weights = np.eye(3, 10, dtype=np.float32)
    plots.draw_attention(weights, ['a', '<SPACE>', 'b'], 0.08, tmp_path / 'attention.png')
    axis = figures[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ['a', '␣', 'b']
    assert axis.get_images()[0].get_extent() == pytest.approx([0.0, 0.8, -0.5, 2.5])
    assert axis.get_ylim() == (-0.5, 2.5)  # the first symbol stands lowest
    assert is_png(tmp_path / 'attention.png')


def test_attention_of_chinese_symbols_warns_nobody(tmp_path, recwarn):
    plots.draw_attention(np.ones((1, 2)), ['绿'], 0.08, tmp_path / 'attention.png')
    assert [str(warning.message) for warning in recwarn] == []


def test_attention_needs_a_row_for_each_symbol(tmp_path):
    with pytest.raises(ValueError, match=r'\[symbols, frames\]'):
        plots.draw_attention(np.ones((2, 4)), ['a'], 0.08, tmp_path / 'attention.png')


def test_matplotlib_is_not_imported_before_the_first_figure():
    code = 'import sys, utils.plots; sys.exit("matplotlib" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_each_dev_index_has_its_curves(tmp_path, figures):
    records = [{**record, 'wer/dev-clean': 0.5, 'dev_loss/a$b$': 7.0} for record in HISTORY]
    plots.draw_curves(records, tmp_path / 'curves.png')
    loss, errors, _ = figures[0].axes
    assert [line.get_label() for line in loss.get_lines()] == ['train', 'dev', r'dev, a\$b\$']
    assert [line.get_label() for line in errors.get_lines()] == ['WER', 'CER', 'WER, dev-clean']
    assert errors.get_lines()[2].get_ydata().tolist() == [50.0, 50.0]


def test_a_page_about_indexes_has_a_colour_each_and_the_limit_of_ctc(tmp_path, figures):
    durations, symbols = [np.array([1.0, 2.0]), np.array([4.0])], [np.array([10, 30]), np.array([20])]
    plots.draw_indexes(['train', 'dev'], durations, symbols, [[0.05], []], 0.02, tmp_path / 'inspect.png')
    lengths, rates, fits, speakers = figures[0].axes
    train, dev, limit = (line.get_xydata().tolist() for line in fits.get_lines())
    assert (train, dev, limit) == ([[1, 10], [2, 30]], [[4, 20]], [[0, 0], [4, 200]])
    assert speakers.get_lines()[0].get_xydata().tolist() == [[1, 0.05]]
    for axis in (lengths, rates):
        assert [sum(patch.get_xy()[:-1, 1].max() for patch in axis.patches[:1])] == [50.0]
    assert all(axis.get_xlabel() and axis.get_ylabel() and axis.get_title() for axis in figures[0].axes)
    assert is_png(tmp_path / 'inspect.png')
