"""CTC scores of the prefixes of a text (Graves 2008, section 7.5; Hori et al. 2017, section 3.3).

They join the beam of an attention model with the CTC head of its listener. The alignments of a text g, float64
`[frames, 2]`, hold for each frame the log-probability of all alignments of g so far that end in its last symbol, and of
those that end in a blank; the probability of all texts that begin with g and one more symbol follows from them. The
blank shares its class with the end of a text. Posteriors are `[frames, classes]`, of which ``length`` frames count.
"""

import math

import numpy as np

from utils.jit import kernel

IN_SYMBOL, IN_BLANK = range(2)
LOG_ZERO = -1e30  # finite instead of -inf, so that differences are defined


@kernel
def _log_add(a: float, b: float) -> float:
    high, low = (a, b) if a > b else (b, a)
    difference = low - high
    return high if difference < -40 else high + math.log1p(math.exp(difference))


@kernel
def start(log_probs: np.ndarray, length: int, blank_id: int, alignments: np.ndarray) -> None:
    """Writes the alignments of the empty text, blanks alone, from log-posteriors."""
    total = 0.0
    for t in range(length):
        total += log_probs[t, blank_id]
        alignments[t, IN_SYMBOL], alignments[t, IN_BLANK] = LOG_ZERO, total


@kernel
def score(
    probs: np.ndarray, length: int, end_id: int, alignments: np.ndarray, last: int, symbols: np.ndarray,
    scores: np.ndarray,
) -> None:  # fmt: skip
    """Writes the log-probabilities of all texts that begin with g and one of ``symbols``; for the end, of g itself.

    ``probs`` are posteriors; ``last`` is the last symbol of g, -1 if g is empty.
    """
    scale = 0.0 if last < 0 else LOG_ZERO  # plain products, relative to the best alignment, are summed
    for t in range(length):
        scale = max(scale, alignments[t, IN_SYMBOL], alignments[t, IN_BLANK])
    for i in range(len(symbols)):
        scores[i] = probs[0, symbols[i]] if last < 0 else 0.0
    for t in range(1, length):
        after_blank = math.exp(alignments[t - 1, IN_BLANK] - scale)
        after_any = after_blank + math.exp(alignments[t - 1, IN_SYMBOL] - scale)
        if after_any > 0:
            for i in range(len(symbols)):
                scores[i] += (after_blank if symbols[i] == last else after_any) * probs[t, symbols[i]]
    for i in range(len(symbols)):
        if symbols[i] == end_id:
            scores[i] = _log_add(alignments[length - 1, IN_SYMBOL], alignments[length - 1, IN_BLANK])
        elif scores[i] > 0 and scale > LOG_ZERO:
            scores[i] = scale + math.log(scores[i])
        else:
            scores[i] = LOG_ZERO


@kernel
def follow(
    log_probs: np.ndarray, length: int, blank_id: int, alignments: np.ndarray, last: int, symbol: int, new: np.ndarray
) -> None:
    """Writes the alignments of g with one more symbol to ``new``, from log-posteriors; see `score`."""
    new[0, IN_SYMBOL] = log_probs[0, symbol] if last < 0 else LOG_ZERO
    new[0, IN_BLANK] = LOG_ZERO
    for t in range(1, length):
        before = alignments[t - 1, IN_BLANK]
        if symbol != last:
            before = _log_add(before, alignments[t - 1, IN_SYMBOL])
        new[t, IN_SYMBOL] = _log_add(new[t - 1, IN_SYMBOL], before) + log_probs[t, symbol]
        new[t, IN_BLANK] = _log_add(new[t - 1, IN_SYMBOL], new[t - 1, IN_BLANK]) + log_probs[t, blank_id]


@kernel
def score_batch(
    probs: np.ndarray, lengths: np.ndarray, end_id: int, alignments: np.ndarray, last: np.ndarray, symbols: np.ndarray,
    scores: np.ndarray,
) -> None:  # fmt: skip
    """`score` for equally many hypotheses of each utterance, `[hypotheses, …]`; `last` is -2 to leave one out."""
    for i in range(len(last)):
        if last[i] > -2:
            row = i * len(lengths) // len(last)
            score(probs[row], lengths[row], end_id, alignments[i], last[i], symbols[i], scores[i])


@kernel
def follow_batch(
    log_probs: np.ndarray, lengths: np.ndarray, blank_id: int, alignments: np.ndarray, last: np.ndarray,
    parents: np.ndarray, symbols: np.ndarray, new: np.ndarray,
) -> None:  # fmt: skip
    """`follow` for the hypotheses kept: rows of their parents, -1 for none, and symbols, `[hypotheses]`."""
    for i in range(len(parents)):
        j, row = parents[i], i * len(lengths) // len(parents)
        if j >= 0:
            follow(log_probs[row], lengths[row], blank_id, alignments[j], last[j], symbols[i], new[i])
