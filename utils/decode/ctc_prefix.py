"""CTC score of a text that grows symbol by symbol (Graves 2008, section 7.5; Hori et al. 2017, section 3.3).

It joins an attention model's beam with the listener's CTC head. For a text g there are, at each frame, the log
probabilities of all alignments of g so far that end in g's last symbol, and of those that end in a blank; from them
follow the probabilities of all texts that begin with g and one symbol more.
"""

import math

import numpy as np

from utils.jit import kernel

IN_SYMBOL, IN_BLANK = range(2)
LOG_ZERO = -1e30  # as good as minus infinity, and safe to subtract


@kernel
def _log_add(a: float, b: float) -> float:
    high, low = (a, b) if a > b else (b, a)
    difference = low - high
    return high if difference < -40 else high + math.log1p(math.exp(difference))


@kernel
def start(log_probs: np.ndarray, length: int, blank_id: int, alignments: np.ndarray) -> None:
    """Fills in the empty text: blanks alone.

    Args:
      log_probs: `[frames, classes]`, log posteriors.
      length: frames that are real.
      blank_id: the blank's class.
      alignments: float64 `[frames, 2]`, is written.
    """
    total = 0.0
    for t in range(length):
        total += log_probs[t, blank_id]
        alignments[t, IN_SYMBOL], alignments[t, IN_BLANK] = LOG_ZERO, total


@kernel
def score(
    probs: np.ndarray, length: int, end_id: int, alignments: np.ndarray, last: int, symbols: np.ndarray,
    scores: np.ndarray,
) -> None:  # fmt: skip
    """The log probability of all texts that begin with g and a symbol; for the end, of g itself.

    Args:
      probs: `[frames, classes]`, posteriors; the blank shares its class with the end.
      length: frames that are real.
      end_id: the class of the end, and of the blank.
      alignments: of g, `[frames, 2]`.
      last: g's last symbol, -1 where g is empty.
      symbols: int `[symbols]`, to score.
      scores: float64 `[symbols]`, is written.
    """
    scale = 0.0 if last < 0 else LOG_ZERO  # the sums are of plain products, against the best alignment
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
    """Fills in the alignments of g with one symbol more; arguments as in `score`, new `[frames, 2]` is written."""
    new[0, IN_SYMBOL] = log_probs[0, symbol] if last < 0 else LOG_ZERO
    new[0, IN_BLANK] = LOG_ZERO
    for t in range(1, length):
        before = alignments[t - 1, IN_BLANK]
        if symbol != last:
            before = _log_add(before, alignments[t - 1, IN_SYMBOL])
        new[t, IN_SYMBOL] = _log_add(new[t - 1, IN_SYMBOL], before) + log_probs[t, symbol]
        new[t, IN_BLANK] = _log_add(new[t - 1, IN_SYMBOL], new[t - 1, IN_BLANK]) + log_probs[t, blank_id]


@kernel
def score_batch(probs, lengths, end_id, alignments, last, symbols, scores) -> None:
    """`score` for the live hypotheses of a batch, each array with the axes `[batch, width]` in front.

    A hypothesis whose `last` is -2 is not looked at.
    """
    for row in range(len(lengths)):
        for slot in range(last.shape[1]):
            if last[row, slot] > -2:
                place = row, slot
                score(probs[row], lengths[row], end_id, alignments[place], last[place], symbols[place], scores[place])


@kernel
def follow_batch(log_probs, lengths, blank_id, alignments, last, parents, symbols, new) -> None:
    """`follow` for the hypotheses that were kept: parents and symbols `[batch, width]`, -1 for an empty slot."""
    for row in range(len(lengths)):
        for slot in range(parents.shape[1]):
            parent = parents[row, slot]
            if parent >= 0:
                before, length, symbol = (row, parent), lengths[row], symbols[row, slot]
                follow(log_probs[row], length, blank_id, alignments[before], last[before], symbol, new[row, slot])
