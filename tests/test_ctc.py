"""The probability of a given text. Its sum over all paths, and its alignment, are in test_ctc_beam.py."""

import numpy as np
import pytest

from tests.oracles import collapse
from utils.decode import ctc


def test_the_probability_of_a_text_leaves_nothing_out_that_counts():
    rng = np.random.default_rng(5)
    probs = rng.dirichlet(np.full(5, 0.05), size=120) + 1e-9
    path = [symbol for _ in range(40) for symbol in (rng.integers(4), 4, 4)]
    probs[np.arange(len(path)), path] += 3
    probs /= probs.sum(axis=1, keepdims=True)
    text = np.array(collapse(path, 4))
    for symbols in (text, np.append(text, [0, 1]), text[3:]):  # probable, less so, hardly at all
        expected = ctc._forward(probs, symbols, 4, 0.0)
        assert ctc.ctc_log_prob(probs, symbols, 4) == pytest.approx(expected, abs=1e-9)
    # symbols that hide at the end: all that looks well before is of no use
    late = np.full((60, 3), 1e-30)
    late[:55, 2], late[55:, 0] = 1.0, 1.0
    text = np.zeros(20, np.int64)
    expected = ctc._forward(late, text, 2, 0.0)
    assert expected < -1000
    assert ctc.ctc_log_prob(late, text, 2) == pytest.approx(expected, rel=1e-9)
    assert ctc.ctc_log_prob(late[:10], text, 2) == -np.inf
