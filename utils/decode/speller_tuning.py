"""The search for the weights of a language model beside a speller, whose every beam search runs the model.

A ranking of the best texts without language model says which share of the CTC head and which length norm go with which
weights; with these, and with the weights around, the speller then decodes.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from utils.data.transcripts import references
from utils.decode.tuning import Candidate, Point, rank, reranking, search, walk
from utils.lm.scorer import CHAR, Scorer, Weights
from utils.metrics import Scores, score

# a speller knows much of what a language model says, its CTC head does not; where scores are not divided by the length,
# the bonus speaks for it
CTC_SHARES = (0.3, 0.5, 0.7)
LENGTH_NORMS = (0.0, 1.0)
STEPS = {'word': Weights(0.125, 0.25), 'char': Weights(0.0625, 0.125)}


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Attributes:
      points: what each pair of weights scored that was decoded with.
      flags: of the speller's search, by name.
      greedy: what greedy spelling scores.
      beam: what the beam scores without language model, with the best of the shares.
    """

    points: list[Point]
    flags: dict[str, float]
    greedy: Scores
    beam: Scores


@dataclass
class SpellerTuner:
    """Tunes on some indexes.

    Attributes:
      recognizer: of the run, a `utils.recognition.recognizer.Recognizer`.
      indexes: the dev sets.
      batch_size: utterances at once.
      make_decoder: from a `decoder.Decoding`, or None for greedy, to the recogniser's decoder.
      given: flags of the search that are not to be tuned.
      fusion: the language model.
      progress: wraps an iterator of things that take long.
    """

    recognizer: object
    indexes: Sequence
    batch_size: int
    make_decoder: Callable
    given: Mapping[str, float]
    fusion: Scorer
    progress: Callable

    def __post_init__(self):
        self._unit = 'char' if self.fusion.mode == CHAR else 'word'
        vocabulary = self.recognizer.vocabulary
        self._transcripts = [text for index in self.indexes for text in references(index, vocabulary)]

    def tune(self, decoding) -> Tuning:
        """Ranks, then decodes; ``decoding`` (a `decoder.Decoding`) says with which beam and language model."""
        greedy = self._point(Weights(), self._evaluate(None))
        has_ctc_head = bool(self.recognizer.config.ctc_weight)
        shares = CTC_SHARES if has_ctc_head and 'ctc_decode_weight' not in self.given else (None,)
        ranked = [self._rank(decoding, share) for share in self.progress(shares, 'ranking', ' shares')]
        best, flags = min(itertools.chain(*(found for _, found in ranked)), key=lambda each: rank(each[0]))
        decoding = replace(decoding, speller=flags)

        def decoded(weights):
            hypotheses = self._evaluate(replace(decoding, lm_weight=weights.lm_weight, word_bonus=weights.word_bonus))
            return self._point(weights, hypotheses)

        start = decoded(best.weights)
        around = walk(decoded, [start], STEPS[self._unit], num_halvings=0)
        points = [start, *self.progress(around, 'decoding', ' weights')]
        return Tuning(points, flags, greedy.scores, min((beam for beam, _ in ranked), key=rank).scores)

    def _rank(self, decoding, share: float | None) -> tuple[Point, list[tuple[Point, dict[str, float]]]]:
        """The beam without language model, and for each length norm the best point of the ranking and the flags."""
        flags = {} if share is None else {'ctc_decode_weight': share}
        hypotheses = self._evaluate(replace(decoding, lm=None, num_best=decoding.beam_width, speller=flags))
        power, found = self.recognizer.decoder.options.length_norm, []
        # with coverage, which is not divided, a text's score is not known for another norm
        for norm in (power,) if self.given.keys() & {'length_norm', 'coverage_weight'} else LENGTH_NORMS:
            best_of = reranking(candidates_of(hypotheses, power, norm), self.fusion)
            points = search(lambda weights, best_of=best_of: self._scored(weights, best_of(weights)), self._unit)
            found.append((min(points, key=rank), {**flags, 'length_norm': norm, **self.given}))
        return self._point(Weights(), hypotheses), found

    def _evaluate(self, decoding) -> list:
        self.recognizer.decoder = self.make_decoder(decoding)
        evaluations = [self.recognizer.evaluate(index, self.batch_size) for index in self.indexes]
        return [hypothesis for evaluation in evaluations for hypothesis in evaluation.hypotheses]

    def _point(self, weights: Weights, hypotheses: Sequence) -> Point:
        return self._scored(weights, [hypothesis.ids for hypothesis in hypotheses])

    def _scored(self, weights: Weights, texts: Sequence[Sequence[int]]) -> Point:
        vocabulary = self.recognizer.vocabulary
        decoded = [vocabulary.decode(ids) for ids in texts]
        return Point(
            weights, score(self._transcripts, decoded, vocabulary.has_words), sum(not text for text in decoded)
        )


def candidates_of(hypotheses: Sequence, power: float, norm: float) -> list[list[Candidate]]:
    """The best texts of each utterance, whose scores were divided by |y|^power, as if by |y|^norm."""

    def candidate(hypothesis):
        length = len(hypothesis.ids) + 1
        return Candidate(hypothesis.ids, hypothesis.score * length ** (power - norm), length**-norm)

    return [[candidate(each) for each in (best, *best.alternatives)] for best in hypotheses]
