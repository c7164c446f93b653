"""The search for weights, on a surface that is known, and scripts/tune_lm.py from saved posteriors."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from models.config import ModelConfig
from scripts import tune_lm
from scripts.train_lm import main as train_lm
from utils.config import TrainConfig
from utils.data.feature_file import write_features
from utils.data.index import read_index, write_index
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.decode.hypothesis import SpelledHypothesis
from utils.decode.options import BEST, ONE_SE, DecodingOptions, read_tuned
from utils.decode.points import Point, rank
from utils.decode.tuning import FIRST_STEPS, PLAIN, Tuner, grid, reranking, search
from utils.errors import UsageError
from utils.lm.ngram import load_model
from utils.lm.scorer import Weights, make_scorer
from utils.recognition.posteriors import Posteriors, rounded
from utils.run_directory import Run, RunConfig

TEXTS = ['bad dog', 'a good dog', 'bad dad', 'good dad']


BOTTOM = Weights(0.8, 1.3)


def bowl(weights, bottom=BOTTOM):
    """Errors that grow with the distance from the bottom."""
    distance = abs(weights.lm_weight - bottom.lm_weight) + abs(weights.word_bonus - bottom.word_bonus)
    errors = round(1000 * distance)
    return Point(weights, np.array([[errors, 5000, errors, 20000, int(weights.lm_weight > 2.5)]]))


@pytest.mark.parametrize('unit', ['word', 'char'])
@pytest.mark.parametrize('bottom', [Weights(0.8, 1.3), Weights(0.2, -1.0), Weights(2.7, 3.1)])
def test_the_search_finds_the_bottom_and_tries_nothing_twice(unit, bottom):
    points = list(search(lambda weights: bowl(weights, bottom), grid(unit), FIRST_STEPS[unit]))
    best = min(points, key=rank).weights
    assert abs(best.lm_weight - bottom.lm_weight) < 0.07
    assert abs(best.word_bonus - bottom.word_bonus) < 0.13
    assert len({point.weights for point in points}) == len(points) < 80
    assert all(point.weights.lm_weight > 0 for point in points)


def test_of_equal_errors_the_smaller_weight_is_the_better():
    points = [bowl(Weights(1.0, 1.3)), bowl(Weights(0.6, 1.3))]
    assert min(points, key=rank) is points[1]


@pytest.fixture
def run_dir(tmp_path):
    """A run whose saved posteriors spell TEXTS with b and d, and a and o, hardly told apart."""
    vocabulary = Vocabulary.english()
    config = RunConfig(ModelConfig(features=40, classes=29), TrainConfig(), 'fbank-40-0.02-0.01')
    Run.create(str(tmp_path), config, vocabulary, FeatureStatistics(np.zeros(40), np.ones(40)))
    entries, utterances, rng = [], [], np.random.default_rng(0)
    for row, text in enumerate(TEXTS):
        path = list(itertools.chain.from_iterable((symbol, 28) for symbol in vocabulary.encode(text)))
        probs = rng.dirichlet(np.full(29, 0.02), len(path)) * 0.2
        probs[np.arange(len(path)), path] += 0.45
        for one, other in ('bd', 'db', 'ao', 'oa'):
            one, other = vocabulary.encode(one)[0], vocabulary.encode(other)[0]
            probs[np.array(path) == one, other] += rng.uniform(0.3, 0.6)
        utterances.append(rounded(np.log((probs + 1e-6) / (probs + 1e-6).sum(axis=1, keepdims=True))))
        write_features(str(tmp_path / f'{row}.npz'), np.zeros((9, 40), np.float32), [])
        entries.append(
            {'key': f'{row}.npz', 'duration': 0.1, 'texts': text, 'frames': 9, 'features': 'fbank-40-0.02-0.01'}
        )
    write_index(str(tmp_path / 'dev.json'), entries)
    origin = vocabulary.tokens, 'run', 'best', 'model-7'
    Posteriors.of(utterances, read_index([str(tmp_path / 'dev.json')]), *origin).save(tmp_path / 'tune' / 'dev')
    (tmp_path / 'text.txt').write_text('\n'.join(TEXTS * 3) + '\n')
    train_lm([str(tmp_path / 'text.txt'), '-l', str(tmp_path / 'lm.arpa'), '-o', '2'])
    return tmp_path


def tune(run_dir, monkeypatch, *flags):
    monkeypatch.setattr('utils.decode.tuning.LM_WEIGHTS', (0.5, 1.0))
    return tune_lm.main(
        ['-s', str(run_dir), '-d', str(run_dir / 'dev.json'), '--lm', str(run_dir / 'lm.arpa'), '--beam_width', '20',
         '--posteriors', str(run_dir / 'tune'), *flags]
    )  # fmt: skip


def test_the_best_weights_are_kept_in_the_run_directory(run_dir, capsys, monkeypatch):
    assert tune(run_dir, monkeypatch, '--rule', 'best') == 0
    (found,) = read_tuned(run_dir)
    assert (found.unit, found.beam_width, found.lexicon, found.checkpoint) == ('word', 20, 'no', 'best')
    assert (found.rule, found.folds, found.wer_folds) == ('best', 0, None)
    assert found.wer < found.wer_without
    assert (run_dir / 'tune' / 'lm.png').read_bytes().startswith(b'\x89PNG')
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f'greedy WER {100 * found.wer_without:.2f} % (')
    assert f'(lm_weight {found.lm_weight:g}, word_bonus {found.word_bonus:g})' in last


def test_cross_validation_is_printed_and_kept(run_dir, capsys, monkeypatch):
    assert tune(run_dir, monkeypatch, '--folds', '2') == 0
    (found,) = read_tuned(run_dir)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f'cross-validated in 2 parts: WER {100 * found.wer_folds:.2f} % (') and found.folds == 2


def test_more_parts_than_utterances_are_refused(run_dir, monkeypatch):
    with pytest.raises(UsageError, match='--folds 5: the dev set has 4 utterances; give at most that'):
        tune(run_dir, monkeypatch, '--folds', '5')


def nbest(scores, power=0.0):
    """A hypothesis with alternatives from {ids: score}, divided by the number of symbols to a power."""
    best, *others = (
        SpelledHypothesis(ids, 0.0, (), score / (len(ids) + 1) ** power, False) for ids, score in scores.items()
    )
    return dataclasses.replace(best, alternatives=tuple(others))


@pytest.fixture
def scorer(tmp_path):
    """A character model: ln P is -0.5 ln 10 for b, -2 ln 10 for a, and -ln 10 for the end."""
    (tmp_path / 'lm.arpa').write_text(
        '\\data\\\nngram 1=5\n\n\\1-grams:\n-9 <unk>\n-99 <s>\n-1 </s>\n-0.5 b\n-2 a\n\n\\end\\\n'
    )
    return make_scorer(load_model(tmp_path / 'lm.arpa'), [' ', 'a', 'b'], Weights(1.0, 0.0))


def test_reranking_adds_the_language_models_part_to_each_candidate(scorer):
    best_texts = reranking([nbest({(1,): -1.0, (2,): -2.0}), nbest({(1, 1): -1.0})], scorer)
    turning = 1 / (1.5 * np.log(10))  # the weight at which "b" overtakes "a"
    assert best_texts(Weights(0.9 * turning, 0.0)) == [(1,), (1, 1)]
    assert best_texts(Weights(1.1 * turning, 0.0)) == [(2,), (1, 1)]


@pytest.mark.parametrize('norm', [0.0, 0.5, 1.0])
def test_a_ranking_at_another_length_norm_is_by_the_scores_that_it_would_have_given(norm, scorer):
    totals, log_probs = {(1,): -2.0, (2, 2, 2): -3.0}, {(1,): -3.0, (2, 2, 2): -2.5}  # log10
    best_texts = reranking([nbest(totals, 1.0)], scorer, 1.0, norm)
    chosen = set()
    for lm_weight, bonus in itertools.product((0.1, 1.0), np.linspace(-3.0, 3.0, 41)):
        scores = {
            ids: (totals[ids] + lm_weight * log_probs[ids] * math.log(10) + bonus * len(ids)) / (len(ids) + 1) ** norm
            for ids in totals
        }
        best = max(scores, key=scores.get)
        assert best_texts(Weights(lm_weight, bonus)) == [best]
        chosen.add(best)
    assert len(chosen) == 2


class Landscape:
    """A dev set whose texts have errors by the weights they are decoded with: `errors(weights)`, one each utterance.

    Texts are (errors, utterance); the n-best list holds one text, so that ranking changes nothing.
    """

    has_words = True

    def __init__(self, errors, utterances):
        self.errors, self.utterances, self.decoded = errors, utterances, []

    def decode(self, options, scorer):
        if scorer is None:
            return [SpelledHypothesis((), 0.0, (), 0.0, False)] * self.utterances
        weights = Weights(scorer.lm_weight, scorer.word_bonus)
        self.decoded.append(weights)
        return [SpelledHypothesis((each,), 0.0, (), 0.0, False) for each in self.errors(weights)]

    def __call__(self, texts):
        errors = np.array([sum(ids) for ids in texts])
        lengths, is_empty = np.full(len(texts), 10), np.zeros(len(texts), int)
        return np.stack([errors, lengths, errors, lengths, is_empty], 1)


def tuner_of(errors, utterances, scorer, rule, groups=None):
    landscape = Landscape(errors, utterances)
    groups = np.arange(utterances) if groups is None else groups
    options = DecodingOptions(lm='lm', beam_width=4)
    return Tuner(options, (), scorer, landscape.decode, landscape, groups, rule), landscape


def test_the_plainest_weights_within_one_standard_error_are_chosen(scorer):
    """Below a weight of 1.25 two errors come and one goes, a difference of 1 ± 2.2; below 1 there are many more."""

    def errors(weights):
        found = np.ones(100, int)
        found[0] += 2 * (weights.lm_weight < 1.25)
        found[1] -= weights.lm_weight < 1.25
        found[2 : 2 + max(0, math.ceil(30 * (1.05 - weights.lm_weight)))] += 1
        return found

    best, plain = (tuner_of(errors, 100, scorer, rule)[0].tune() for rule in (BEST, ONE_SE))
    assert best.options.lm_weight == 1.25 and best.chosen is best.best
    assert plain.best.weights == best.best.weights
    way = [0.75 * end + 0.25 * start for start, end in zip(PLAIN['ctc'], best.best.weights, strict=True)]
    assert [plain.options.lm_weight, plain.options.word_bonus] == way
    assert plain.chosen in plain.points and plain.chosen.counts[:, 0].sum() == 101


def test_plain_weights_are_kept_where_nothing_is_better(scorer):
    tuner, _ = tuner_of(lambda weights: np.ones(10, int), 10, scorer, ONE_SE)
    assert tuner.tune().chosen.weights == PLAIN['ctc']


def test_cross_validation_scores_each_part_with_the_weights_of_the_others(scorer):
    """The first half wants a weight above 2, the second one below 1; each is scored with what suits the other."""

    def errors(weights):
        too_small, too_large = math.ceil(4 * (2.2 - weights.lm_weight)), math.ceil(4 * (weights.lm_weight - 0.9))
        return np.repeat([max(0, too_small), max(0, too_large)], 4)

    tuner, landscape = tuner_of(errors, 8, scorer, BEST, np.repeat([0, 1], 4))
    counts, options = tuner.cross_validate([np.arange(4), np.arange(4, 8)])
    low, high = (Weights(each.lm_weight, each.word_bonus) for each in options)
    assert low.lm_weight < 1 and high.lm_weight > 2
    assert counts[:, 0].tolist() == [*errors(low)[:4], *errors(high)[4:]]
    assert len(landscape.decoded) == len(set(landscape.decoded))  # no weights are decoded with twice
