"""Decoding with several CTC models by the mean of their log-probabilities of a text, not of a frame.

    Q(y) = 1/M Σ_m log p_m(y | x) + lm_weight · log P_LM(y) + word_bonus · words(y) + hot words

The peaks of models that were trained independently do not coincide in time (Kurata and Audhkhasi 2019, arXiv
1904.08311), so that posteriors averaged frame by frame lose symbols; the probability of a text sums over all its
alignments in each model. The candidates are the best texts of each model's own beam search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from utils.decode.ctc import ctc_log_prob
from utils.decode.ctc_beam import BeamOptions, decode, probabilities, spans
from utils.decode.hypothesis import BeamHypothesis, with_alternatives
from utils.lm.scorer import Scorer, fused

CANDIDATES = 50  # best texts of each model


def rank(
    members: Sequence[np.ndarray], found: Sequence[Sequence[BeamHypothesis]], blank_id: int, scorer: Scorer | None
) -> list[BeamHypothesis]:
    """All candidates of one utterance by Q(y), the best first.

    Args:
      members: log-posteriors of each model, `[frames, classes]`; the numbers of frames may differ.
      found: candidates of each model.
      blank_id: class of the blank.
      scorer: language model and hot words that the candidates were found with; None: none.

    Returns:
      Hypotheses with the mean log-probability and the spans of the first model. Where no text fits the frames of all
      models, the best one of the first model is left.
    """
    posteriors = [probabilities(each) for each in members]
    texts = {each.ids: each for hypotheses in found for each in hypotheses}
    ranked = []
    for ids, each in texts.items():
        symbols = np.array(ids, np.int64)
        log_prob = float(np.mean([ctc_log_prob(probs, symbols, blank_id) for probs in posteriors]))
        score = log_prob + each.boost + (fused(scorer, each.lm_log_prob, each.num_words) if scorer else 0.0)
        ranked.append(replace(each, log_prob=log_prob, score=score))
    ranked.sort(key=lambda each: -each.score)
    return [each for each in ranked if each.score > -np.inf] or list(found[0][:1])


@dataclass(frozen=True)
class TextMeanDecoder:
    """Beam searches of several models' posteriors, joined by `rank`.

    Attributes:
      blank_id: class of the blank.
      options: limits of the searches, and number of texts to return.
      scorer: language model, or None.
    """

    blank_id: int
    options: BeamOptions
    scorer: Scorer | None

    def decode(self, members: Sequence[Sequence[np.ndarray]]) -> list[BeamHypothesis]:
        """A hypothesis for each utterance, from the log-posteriors `[frames, classes]` of each model and utterance."""
        options = replace(self.options, num_best=max(CANDIDATES, self.options.num_best))
        found = [decode(each, self.blank_id, options, self.scorer) for each in members]
        results = []
        for posteriors, candidates in zip(zip(*members, strict=True), zip(*found, strict=True), strict=True):
            best = rank(posteriors, candidates, self.blank_id, self.scorer)[: self.options.num_best]
            first = np.require(posteriors[0], np.float32, ['C', 'W'])
            timed = (replace(each, frames=spans(first, np.array(each.ids, np.int64), self.blank_id)) for each in best)
            results.append(list(timed))
        return with_alternatives(results)
