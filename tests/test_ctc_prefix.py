"""CTC's scores of texts written symbol by symbol, against sums over all paths."""

import math

import numpy as np
import pytest

from tests.oracles import CLASSES, END, all_texts, ctc_head, ctc_probability
from utils.decode import ctc_prefix


def prefix_scores(log_probs, text, frames):
    """What `ctc_prefix` says after a text, of every class."""
    alignments = np.full([len(log_probs), 2], ctc_prefix.LOG_ZERO)
    ctc_prefix.start(log_probs, frames, END, alignments)
    last = -1
    for symbol in text:
        new = np.full_like(alignments, ctc_prefix.LOG_ZERO)
        ctc_prefix.follow(log_probs, frames, END, alignments, last, symbol, new)
        alignments, last = new, symbol
    scores = np.zeros(CLASSES)
    ctc_prefix.score(np.exp(log_probs), frames, END, alignments, last, np.arange(CLASSES), scores)
    return scores


@pytest.mark.parametrize('text', [(), (1,), (1, 1), (0, 2), (2, 0, 2)])
def test_ctc_prefix_scores_are_sums_over_all_texts_that_begin_so(text):
    frames = 5
    log_probs = np.concatenate([ctc_head(frames, 3), np.full([2, CLASSES], np.nan)])  # padding is not looked at
    probabilities = {t: ctc_probability(log_probs[:frames], t) for t in all_texts(frames)}
    scores = np.exp(prefix_scores(log_probs, text, frames))
    assert math.isclose(scores[END], probabilities[text], rel_tol=1e-9, abs_tol=1e-15)
    for symbol in range(END):
        begun = (*text, symbol)
        expected = sum(p for t, p in probabilities.items() if t[: len(begun)] == begun)
        assert math.isclose(scores[symbol], expected, rel_tol=1e-9, abs_tol=1e-15)
