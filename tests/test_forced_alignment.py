"""Forced alignment against all paths, against the whole Viterbi table, and its memory."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import collapse
from utils.decode.ctc import best_alignment
from utils.decode.forced_alignment import block_frames, force_alignment

BLANK = 3
ROOT = Path(__file__).parent.parent


def random_posteriors(frames, classes=4, seed=0):
    log_probs = np.random.default_rng(seed).normal(size=[frames, classes])
    return log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)


def best_of_all_paths(log_probs, text):
    """(log-probability, path) of the best of all paths that collapse to the text; None without any."""
    frames, classes = log_probs.shape
    paths = (path for path in itertools.product(range(classes), repeat=frames) if collapse(path, BLANK) == tuple(text))
    return max(((sum(log_probs[range(frames), path]), path) for path in paths), default=None)


@pytest.mark.parametrize('text', [[], [0], [0, 1], [1, 1], [2, 0, 2], [0, 0, 0], [0, 1, 2, 0, 1]])
@pytest.mark.parametrize('seed', [1, 2])
def test_path_is_the_best_of_all_paths(text, seed):
    log_probs = random_posteriors(6, seed=seed)
    log_prob, path = best_of_all_paths(log_probs, text)
    found = force_alignment(log_probs, text, BLANK)
    assert found.log_prob == pytest.approx(log_prob)
    runs = [(symbol, len(list(group))) for symbol, group in itertools.groupby(path)]
    ends = np.cumsum([length for _, length in runs])
    wanted = [(end - length, end) for (symbol, length), end in zip(runs, ends, strict=True) if symbol != BLANK]
    assert [(span.start_frame, span.end_frame) for span in found.spans] == wanted
    for span, symbol in zip(found.spans, text, strict=True):
        assert span.log_prob == pytest.approx(log_probs[span.start_frame : span.end_frame, symbol].sum())


@pytest.mark.parametrize('text', [[0, 0, 0], [0, 1, 0, 1, 0]])
def test_too_few_frames_have_no_alignment(text):
    assert best_of_all_paths(random_posteriors(4), text) is None
    assert force_alignment(random_posteriors(4), text, BLANK) is None


def test_text_as_long_as_its_frames_has_one_path():
    found = force_alignment(random_posteriors(5), [0, 1, 1, 2], BLANK)
    assert [(span.start_frame, span.end_frame) for span in found.spans] == [(0, 1), (1, 2), (3, 4), (4, 5)]


def test_text_of_probability_zero_has_no_alignment():
    log_probs = random_posteriors(5)
    log_probs[:, 1] = -np.inf
    assert force_alignment(log_probs, [0, 1], BLANK) is None


@pytest.mark.parametrize('block', [1, 2, 7, 50, 199, 200, 1000])
@pytest.mark.parametrize('length', [3, 60, 120])
def test_blocks_give_the_path_of_the_whole_table(block, length):
    log_probs = random_posteriors(200, seed=length)
    symbols = np.random.default_rng(length).integers(0, 3, length)
    spans, scores = best_alignment(log_probs, symbols, BLANK)
    found = force_alignment(log_probs, symbols, BLANK, block)
    assert [(span.start_frame, span.end_frame) for span in found.spans] == list(map(tuple, spans.tolist()))
    np.testing.assert_allclose([span.log_prob for span in found.spans], scores)


# ru_maxrss would not do: a process inherits it from the one that started it, here pytest
GROWTH_IN_KIB = """
import numpy as np
from utils.decode.forced_alignment import force_alignment

def peak():
    with open('/proc/self/status') as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith('VmHWM:'))

log_probs = np.log(np.random.default_rng(3).dirichlet(np.ones(4), 12_000)).astype(np.float32)
symbols = np.random.default_rng(3).integers(0, 3, 3_000)
force_alignment(log_probs[:8000], symbols[:2], 3)
for block in (0, 12_000):
    before = peak()
    force_alignment(log_probs, symbols, 3, block)
    print(peak() - before)
"""


def test_blocks_need_little_memory_where_the_whole_table_needs_72_megabytes():
    done = subprocess.run([sys.executable, '-c', GROWTH_IN_KIB], cwd=ROOT, capture_output=True, text=True, check=True)
    in_blocks, whole = map(int, done.stdout.split())
    assert in_blocks < 15_000
    assert whole > 50_000


def test_an_hour_with_its_text_takes_62_megabytes_at_the_best_block():
    frames, length = 180_000, 45_000
    block = block_frames(frames, length)
    assert 8 * (2 * length + 1) * frames / block + 2 * block**2 == pytest.approx(62e6, rel=0.02)
