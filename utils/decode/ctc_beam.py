"""CTC prefix beam search with n-gram language models.

    Q(y) = log p(y | x) + lm_weight * log P_LM(y) + word_bonus * words(y) + boost(y)

(Deep Speech, arXiv 1412.5567; Deep Speech 2, arXiv 1512.02695). With a character model, as for Chinese,
each symbol counts as a word; hot words give the boost (`context_graph`). The exact scores of the texts that the search
finds are computed afterwards, and that of the greedy text, so that no result scores below it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from utils.decode.ctc import best_alignment, ctc_log_prob
from utils.decode.hypothesis import BeamHypothesis, Span
from utils.decode.prefix_search import search
from utils.errors import DataError, UsageError
from utils.lm.context_graph import boost
from utils.lm.scorer import NONE, Scorer, no_scorer, score_symbols
from utils.system import num_cores

# lower bound of a posterior, so that no frame can empty the beam
LEAST_PROB = np.float32(1e-30)
# the search ranks texts by the alignments that it kept, the exact order may differ a little
SPARE_RESULTS = 3


@dataclass(frozen=True)
class BeamOptions:
    """Limits of a search.

    Attributes:
      beam_width: prefixes kept at a frame.
      num_best: number of texts to return.
      symbol_mass: the most probable symbols of a frame are tried until their probabilities sum up to this.
      symbol_limit: largest number of symbols that are tried at a frame.
      threshold: a prefix whose score is further below the best one's leaves the beam (nats). On AN4's posteriors 8
        loses no text; of 30 noisy synthetic utterances with a closed lexicon 9 loses three, 10 to 14 two, and a unit
        more takes a fifth more time.
    """

    beam_width: int = 100
    num_best: int = 1
    symbol_mass: float = 0.9999
    symbol_limit: int = 40
    threshold: float = 10.0

    def __post_init__(self) -> None:
        for name in ('beam_width', 'num_best', 'symbol_limit'):
            if getattr(self, name) < 1:
                raise UsageError(f'{name} {getattr(self, name)} must be at least 1')
        if not 0 < self.symbol_mass <= 1:
            raise UsageError(f'symbol_mass {self.symbol_mass} must lie above 0 and not above 1')
        if not self.threshold > 0:
            raise UsageError(f'threshold {self.threshold} must lie above 0')


def decode(
    utterances: Sequence[np.ndarray], blank_id: int, options: BeamOptions | None = None, scorer: Scorer | None = None,
    num_threads: int | None = None,
) -> list[list[BeamHypothesis]]:  # fmt: skip
    """Decodes utterances, one a thread.

    Args:
      utterances: log-posteriors of each utterance, float `[frames, classes]`.
      blank_id: class of the blank.
      options: limits of the search.
      scorer: language model and hot words; None: none.
      num_threads: number of threads; None: the cores that this process may use.

    Returns:
      For each utterance its hypotheses, the best first; at least one and at most ``options.num_best``.

    Raises:
      DataError: the classes do not fit the language model, or the arrays are no log-posteriors.
    """
    if not utterances:
        return []
    num_symbols = utterances[0].shape[1]
    if not 0 <= blank_id < num_symbols:
        raise ValueError(f'blank_id {blank_id} lies outside {num_symbols} symbols')
    if scorer is not None and len(scorer.token_words) != num_symbols - 1:
        raise DataError(
            f'posteriors of {num_symbols} classes do not fit a vocabulary of {len(scorer.token_words)} tokens '
            'and the blank; decode with the vocabulary that the model was trained with'
        )
    scorer = scorer or no_scorer(num_symbols - 1)
    decode_one = partial(decode_utterance, blank_id=blank_id, options=options or BeamOptions(), scorer=scorer)
    num_threads = min(num_threads or num_cores(), len(utterances))
    if num_threads <= 1:
        return list(map(decode_one, utterances))
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(decode_one, utterances))


def decode_utterance(
    log_probs: np.ndarray, blank_id: int, options: BeamOptions, scorer: Scorer
) -> list[BeamHypothesis]:
    """Decodes one utterance, log-posteriors `[frames, classes]`. See `decode`."""
    log_probs = np.require(log_probs, np.float32, ['C', 'W'])
    probs = checked_probs(log_probs)
    symbol_limit, num_results = min(options.symbol_limit, log_probs.shape[1]), options.num_best + SPARE_RESULTS
    limits = options.beam_width, options.symbol_mass, symbol_limit, options.threshold
    found = search(probs, blank_id, *limits, scorer, num_results)
    return rescore(log_probs, probs, found, blank_id, options, scorer)


def rescore(
    log_probs: np.ndarray, probs: np.ndarray, found: Sequence[np.ndarray], blank_id: int, options: BeamOptions,
    scorer: Scorer,
) -> list[BeamHypothesis]:  # fmt: skip
    """The best of the texts that a search found and of the greedy one, by their exact scores."""
    texts = {tuple(text.tolist()): text for text in [*found, _greedy_text(log_probs, blank_id)]}
    scored = [(*_score(probs, text, blank_id, scorer), ids) for ids, text in texts.items()]
    scored.sort(key=lambda item: -item[0])  # a stable sort: of equals, the one that the search preferred
    allowed = [item for item in scored if item[0] > -np.inf] or scored[:1]
    return [
        BeamHypothesis(ids, log_prob, spans(log_probs, texts[ids], blank_id), lm_log_prob, num_words, score, added)
        for score, log_prob, lm_log_prob, num_words, added, ids in allowed[: options.num_best]
    ]


def checked_probs(log_probs: np.ndarray) -> np.ndarray:
    """Posteriors, none of them 0; NaN and logits, which are not normalised, are refused: three frames show that."""
    if not len(log_probs):
        return log_probs
    if np.isnan(log_probs).any():
        raise DataError('the posteriors hold NaN; the model has diverged: take an earlier checkpoint')
    sums = np.exp(log_probs[[0, len(log_probs) // 2, -1]].astype(np.float64)).sum(axis=1)
    if np.abs(sums - 1).max() > 0.02:
        furthest = sums[np.abs(sums - 1).argmax()]
        raise DataError(f'the posteriors of a frame sum up to {furthest:.3g}, not 1; give log softmax, not logits')
    return np.maximum(np.exp(log_probs), LEAST_PROB)


def _greedy_text(log_probs: np.ndarray, blank_id: int) -> np.ndarray:
    path = log_probs.argmax(axis=1) if len(log_probs) else np.empty(0, np.int64)
    is_new = np.ones(len(path), bool)
    is_new[1:] = path[1:] != path[:-1]
    return path[is_new & (path != blank_id)].astype(np.int64)


def _score(
    probs: np.ndarray, text: np.ndarray, blank_id: int, scorer: Scorer
) -> tuple[float, float, float, int, float]:
    """Q(y), log p(y | x), log P_LM(y), the number of words, and the boost of hot words."""
    log_prob = ctc_log_prob(probs, text, blank_id)
    # passing a scorer to a compiled function takes longer than a small one computes
    lm_log_prob, num_words = score_symbols(scorer, text) if scorer.mode != NONE else (0.0, 0)
    weighted = scorer.lm_weight * lm_log_prob + scorer.word_bonus * num_words if lm_log_prob > -np.inf else -np.inf
    added = boost(scorer.hotwords, text) if len(scorer.hotwords.tokens) > 1 else 0.0
    return log_prob + weighted + added, log_prob, lm_log_prob, int(num_words), added


def probabilities(log_probs: np.ndarray) -> np.ndarray:
    """Posteriors float32 `[frames, classes]`, none of them 0, of log-posteriors."""
    return np.maximum(np.exp(np.require(log_probs, np.float32, ['C', 'W'])), LEAST_PROB)


def score_text(log_probs: np.ndarray, ids: Sequence[int], blank_id: int, scorer: Scorer | None = None) -> float:
    """Q(y) of a text, from log-posteriors `[frames, classes]`; -inf with forbidden words or too few frames."""
    probs = probabilities(log_probs)
    scorer = scorer or no_scorer(log_probs.shape[1] - 1)
    return _score(probs, np.array(ids, np.int64), blank_id, scorer)[0]


def spans(log_probs: np.ndarray, text: np.ndarray, blank_id: int) -> tuple[Span, ...]:
    """Spans of the symbols of a text in its most probable alignment."""
    frames, scores = best_alignment(log_probs, text, blank_id)
    return tuple(map(Span, *frames.T.tolist(), scores.tolist()))
