"""The attention beam against exhaustive search, by hand, and with a CTC head; the decoders are toys."""

import functools
import itertools
import math

import numpy as np
import pytest

from tests.oracles import (
    CLASSES,
    END,
    TOKENS,
    all_texts,
    boost_of_words,
    char_model,
    ctc_head,
    ctc_probability,
    hotwords_of,
    ngram_model,
    word_model,
)
from utils.decode.attention_beam import AttentionBeam
from utils.decode.hypothesis import make_spans, repeats_itself
from utils.decode.options import DecodingOptions
from utils.errors import DataError
from utils.lm.ngram import load_model
from utils.lm.scorer import Weights, fused, make_scorer, score_symbols

WIDE = {'beam_width': 200, 'num_best': 200, 'end_threshold': 0.0}
Options = functools.partial(DecodingOptions, family='attention', beam_width=32)


class Toy:
    """A decoder whose next symbol's probabilities, and whose attention, depend on all symbols so far."""

    def __init__(self, seed, frames=4):
        self._seed, self._frames = seed, frames

    def answer(self, text):
        rng = np.random.default_rng([self._seed, *text, len(text)])
        logits, weights = 2 * rng.normal(size=CLASSES), rng.dirichlet(np.full(self._frames, 0.3))
        return logits, weights

    def alone(self, text):
        """Logits without the audio."""
        return np.random.default_rng([self._seed, 99, *text, len(text)]).normal(size=CLASSES)

    def log_prob_alone(self, text):
        """log P_ILM(y) of a text with its end."""
        steps = ((self.alone(text[:step]), symbol) for step, symbol in enumerate([*text, END]))
        return sum(logits[symbol] - np.logaddexp.reduce(logits) for logits, symbol in steps)

    def log_prob(self, text, temperature=1.0):
        """log P(y | x) of a text with its end."""
        total = 0.0
        for step, symbol in enumerate([*text, END]):
            logits = self.answer(text[:step])[0] / temperature
            total += logits[symbol] - np.logaddexp.reduce(logits)
        return total

    def covered(self, text, threshold):
        attended = sum(self.answer(text[:step])[1] for step in range(len(text) + 1))
        return int((attended > threshold).sum())


def search(toys, options, limit, heads=None, fusion=None, hotwords=None):
    """Runs a beam over a batch of toys as the graph would."""
    beam = AttentionBeam(END, options, fusion, hotwords)
    posteriors, lengths = heads or (np.zeros([len(toys), 0, CLASSES]), np.zeros(len(toys), int))
    frames = np.array([len(toy.answer(())[1]) for toy in toys])
    width = int(beam.begin(np.full(len(toys), limit), posteriors, lengths, frames))
    texts = [[()] * width for _ in toys]
    done, steps = False, 0
    while not done:
        answers = [toy.answer(text) for toy, row in zip(toys, texts, strict=True) for text in row]
        logits, weights = (np.array(part) for part in zip(*answers, strict=True))
        alone = np.array([toy.alone(text) for toy, row in zip(toys, texts, strict=True) for text in row])
        parents, symbols, done = beam.advance(logits, weights, *[alone] * beam.uses_ilm)
        flat = [text for row in texts for text in row]
        new = [(*flat[parent], int(symbol)) for parent, symbol in zip(parents, symbols, strict=True)]
        texts = [new[i : i + width] for i in range(0, len(new), width)]
        steps += 1
        assert steps <= limit + 1
    return [[best, *best.alternatives] for best in beam.results()]


@pytest.mark.parametrize(
    'options',
    [{}, {'length_norm': 0.0}, {'temperature': 2.0, 'length_norm': 0.5}, {'coverage_weight': 0.7, 'length_norm': 0.0}],
)
def test_a_wide_beam_finds_what_exhaustive_search_finds(options):
    toys, limit = [Toy(1), Toy(2)], 4
    settings = Options(**WIDE, **options)
    for toy, found in zip(toys, search(toys, settings, limit), strict=True):
        expected = {
            text: toy.log_prob(text, settings.temperature) / (len(text) + 1) ** settings.length_norm
            + settings.coverage_weight * toy.covered(text, 0.5)
            for text in all_texts(limit)
        }
        assert len(found) == len(expected)
        for hypothesis in found:
            assert math.isclose(hypothesis.score, expected[hypothesis.ids], abs_tol=1e-9)
        assert found[0].ids == max(expected, key=expected.get)


class Steady(Toy):
    """A decoder that writes symbol 0 with probability 0.78 and ends with 0.2, until its text has 60 symbols."""

    def answer(self, text):
        weights = np.eye(46)[min(len(text), 45)]  # each symbol attends to a frame of its own
        return np.log([1e-9, 1e-9, 1e-9, 1.0] if len(text) == 60 else [0.78, 0.01, 0.01, 0.2]), weights


def test_a_long_text_wins_by_its_mean_though_short_ones_end_at_every_step():
    ((best,),) = search([Steady(0)], Options(), 100)
    assert best.ids == (0,) * 60 and math.isclose(best.score, 60 * math.log(0.78) / 61, rel_tol=1e-6)


def test_a_long_text_wins_by_its_coverage_though_its_probability_is_small():
    options = Options(coverage_weight=1.0, length_norm=0.0)
    ((best,),) = search([Steady(0)], options, 100)
    score = max(n * math.log(0.78) + math.log(0.2) + min(n + 1, 46) for n in range(60))
    assert len(best.ids) == 45 and math.isclose(best.score, score, rel_tol=1e-6)


def all_scores(toy, options, limit, scorer=None, head=None, hotwords=None):
    """s(y) of every text that can be written, by the definition."""
    found = {}
    for text in all_texts(limit):
        total = (1 - options.ctc_decode_weight) * toy.log_prob(text, options.temperature)
        if options.ctc_decode_weight:
            probability = ctc_probability(head, text)
            total = total + options.ctc_decode_weight * math.log(probability) if probability > 0 else -math.inf
        if scorer:
            total += fused(scorer, *score_symbols(scorer, np.array(text, np.int64)))
        total += boost_of_words(''.join(TOKENS[symbol] for symbol in text), hotwords or {})
        total = total - options.ilm_weight * toy.log_prob_alone(text)
        covered = options.coverage_weight * toy.covered(text, 0.5)
        found[text] = total / (len(text) + 1) ** options.length_norm + covered
    return {text: score for text, score in found.items() if score > -math.inf}


@pytest.mark.parametrize('seed', range(12))
def test_the_best_texts_are_never_pruned(seed, tmp_path):
    rng = np.random.default_rng(seed)
    limit, frames, ctc_weight = 4, 5, float(rng.choice([0.0, 0.4]))
    options = Options(
        beam_width=200, num_best=int(rng.integers(1, 4)), end_threshold=0.0, ctc_decode_weight=ctc_weight,
        temperature=rng.uniform(0.5, 2), length_norm=float(rng.choice([0, 0.5, 1, 1.7])),
        coverage_weight=float(rng.choice([0, 0.3, 2])),
    )  # fmt: skip
    model = [None, word_model, char_model][seed % 3]
    weights = Weights(rng.uniform(0, 2), rng.uniform(-1, 3))
    scorer = model and make_scorer(model(tmp_path), TOKENS, weights, unknown_words=bool(seed % 2))
    toy, head = Toy(seed, frames=7), ctc_head(frames, seed)
    (found,) = search([toy], options, limit, (head[np.newaxis], np.array([frames])), scorer)
    expected = all_scores(toy, options, limit, scorer, head)
    assert [each.ids for each in found] == sorted(expected, key=expected.get, reverse=True)[: options.num_best]
    for each in found:
        assert math.isclose(each.score, expected[each.ids], abs_tol=1e-4)


@pytest.mark.parametrize('seed', range(6))
def test_with_hot_words_the_best_texts_are_never_pruned(seed, tmp_path):
    weights, limit, frames = {'ba': 0.9, 'a b': 0.4, 'b': 0.3, 'a': -0.5, 'bb a': 2.0}, 4, 5
    options = Options(
        beam_width=200, num_best=1 + seed % 3, end_threshold=0.0, ctc_decode_weight=[0.0, 0.4][seed % 2],
        length_norm=[0.0, 0.5, 1.0][seed % 3],
    )  # fmt: skip
    found = hotwords_of(weights)
    scorer = make_scorer(word_model(tmp_path), TOKENS, Weights(0.5, 0.3), hotwords=found.words) if seed > 2 else None
    toy, head = Toy(seed, frames=7), ctc_head(frames, seed)
    heads = head[np.newaxis], np.array([frames])
    (texts,) = search([toy], options, limit, heads, scorer, found.graph)
    expected = all_scores(toy, options, limit, scorer, head, weights)
    assert [each.ids for each in texts] == sorted(expected, key=expected.get, reverse=True)[: options.num_best]
    for each in texts:
        assert math.isclose(each.score, expected[each.ids], abs_tol=1e-4)
        text = ''.join(TOKENS[symbol] for symbol in each.ids)
        assert math.isclose(each.boost, boost_of_words(text, weights), abs_tol=1e-9)


@pytest.mark.parametrize('seed', range(8))
def test_the_internal_language_model_is_subtracted_and_the_best_texts_are_not_pruned(seed, tmp_path):
    rng = np.random.default_rng(seed)
    options = Options(
        beam_width=200, num_best=3, end_threshold=0.0, ctc_decode_weight=float(rng.choice([0.0, 0.4])),
        ilm_weight=rng.uniform(0.1, 0.6), length_norm=float(rng.choice([0, 1])), temperature=rng.uniform(0.7, 1.5),
    )  # fmt: skip
    scorer = make_scorer(char_model(tmp_path), TOKENS, Weights(rng.uniform(0, 1), 0.5)) if seed % 2 else None
    toy, head = Toy(seed), ctc_head(5, seed)
    (found,) = search([toy], options, 4, (head[np.newaxis], np.array([5])), scorer)
    expected = all_scores(toy, options, 4, scorer, head)
    assert [each.ids for each in found] == sorted(expected, key=expected.get, reverse=True)[:3]
    for each in found:
        assert math.isclose(each.score, expected[each.ids], abs_tol=1e-4)


def test_a_word_that_is_likely_only_where_it_stands_wins_though_its_prefix_was_charged_more(tmp_path):
    """The language model gives "ab" a thousandth, but nearly 1 at the beginning; the empty text ends first."""

    class Short(Toy):
        def answer(self, text):
            return np.log([[1e-9, 0.4, 1e-9, 0.6], [1e-9, 1e-9, 1, 1e-9], [1e-9, 1e-9, 1e-9, 1]][len(text)]), np.ones(1)

    (tmp_path / 'lm.arpa').write_text(
        '\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-9 <unk>\n-99 <s> -0.1\n-1 </s>\n-3 ab -0.1\n-1 b -0.1\n\n'
        '\\2-grams:\n-0.01 <s> ab\n-0.3 <s> </s>\n-0.01 ab </s>\n\n\\end\\\n'
    )
    scorer = make_scorer(load_model(tmp_path / 'lm.arpa'), TOKENS, Weights(1.0, 0.0))
    ((best,),) = search([Short(0)], Options(length_norm=0.0), 2, None, scorer)
    assert best.ids == (1, 2)


def test_the_search_ends_when_no_text_can_win_any_more():
    class Sure(Toy):
        steps = 0

        def answer(self, text):
            self.steps = max(self.steps, len(text))
            return np.log([0.99, 0.004, 0.003, 0.003] if len(text) < 5 else [0.01, 0.01, 0.01, 0.97]), np.ones(1)

    toy = Sure(0)
    ((best,),) = search([toy], Options(), 50)
    assert best.ids == (0,) * 5 and toy.steps < 10


def test_a_word_that_the_limit_leaves_open_is_dropped_with_a_closed_lexicon(tmp_path):
    """The decoder writes "a abb", all of it words; the limit comes within the second one."""

    class Rambling(Toy):
        def answer(self, text):
            return np.eye(CLASSES)[[1, 0, 1, 2, 2, 2][len(text)]] * 9.0, np.ones(1)

    words = ngram_model(tmp_path, [['a'], ['abb', 'a']])
    scorer = make_scorer(words, TOKENS, Weights(1.0, 0.0), unknown_words=False)
    (found,) = search([Rambling(0)], Options(beam_width=1, num_best=3), 4, None, scorer)
    assert [(each.ids, each.is_cut, len(each.frames)) for each in found] == [((1, 0), True, 2)]


@pytest.mark.filterwarnings('ignore:invalid value')
def test_a_model_that_gives_nan_is_said_to_have_diverged():
    class Diverged(Toy):
        def answer(self, text):
            return np.full(CLASSES, np.nan if len(text) == 2 else 0.0), np.ones(4)

    with pytest.raises(DataError, match='NaN; the model has diverged: take an earlier checkpoint'):
        search([Toy(0), Diverged(1)], Options(), 4)
    heads = np.full([1, 4, CLASSES], np.nan), np.array([4])
    with pytest.raises(DataError, match='NaN'):
        search([Toy(0)], Options(ctc_decode_weight=0.5), 4, heads)


def test_a_beam_of_one_is_greedy():
    for seed in range(20):
        toy, text = Toy(seed), ()
        while len(text) < 8 and (symbol := int(np.argmax(toy.answer(text)[0]))) != END:
            text = (*text, symbol)
        (found,) = search([toy], Options(beam_width=1), 8)
        assert found[0].ids == text


def test_other_members_of_the_batch_change_nothing():
    options = Options(beam_width=3, num_best=3)
    together = search([Toy(5), Toy(6), Toy(7)], options, 6)
    assert together == [search([Toy(seed)], options, 6)[0] for seed in (5, 6, 7)]


def test_coverage_counts_frames_whose_attention_sums_up_above_the_threshold():
    """Two symbols attend to frame 0 (0.4 each), the end to frame 2: 0.8 and 1.0 are above a half, 0.2 is not."""

    class Listener(Toy):
        def answer(self, text):
            logits = np.where(np.arange(CLASSES) == (0 if len(text) < 2 else END), 0.0, -1e9)
            return logits, np.array([[0.4, 0.1, 0.0], [0.4, 0.1, 0.0], [0.0, 0.0, 1.0]])[min(len(text), 2)]

    options = Options(beam_width=1, coverage_weight=0.25, length_norm=0.0)
    ((best,),) = search([Listener(0)], options, 5)
    assert best.ids == (0, 0) and math.isclose(best.score, 2 * 0.25)
    assert [span.start_frame for span in best.frames] == [0, 0]


def test_the_end_must_be_nearly_as_likely_as_the_best_symbol():
    class Hasty(Toy):
        def answer(self, text):
            if len(text) == 3:
                return np.log([0.01, 0.01, 0.01, 0.97]), np.ones(1)
            return np.log([0.6, 0.1, 0.1, 0.2]), np.ones(1)  # the end has a third of the best one's probability

    def lengths(end_threshold):
        options = Options(beam_width=8, num_best=50, end_threshold=end_threshold)
        return {len(hypothesis.ids) for hypothesis in search([Hasty(0)], options, 3)[0]}

    assert 0 in lengths(0.3)
    assert lengths(0.5) == {3}


def test_no_text_is_longer_than_its_limit_and_one_that_is_cut_says_so():
    class Endless(Toy):
        def answer(self, text):
            return np.array([5.0, 0.0, 0.0, -50.0]), np.ones(1)

    ((best, *_),) = search([Endless(0)], Options(beam_width=2), 5)
    assert best.ids == (0,) * 5 and best.is_cut


def test_a_wide_joint_beam_weighs_the_decoder_and_the_ctc_head():
    toys, limit, weight, frames = [Toy(1), Toy(2)], 3, 0.4, [4, 5]
    heads = [ctc_head(5, 8), ctc_head(5, 9)]
    options = Options(**WIDE, ctc_decode_weight=weight, length_norm=1.0)
    found = search(toys, options, limit, (np.array(heads), np.array(frames)))
    for toy, head, length, hypotheses in zip(toys, heads, frames, found, strict=True):
        expected = {}
        for text in all_texts(limit):
            probability = ctc_probability(head[:length], text)
            if probability > 0:
                log_prob = (1 - weight) * toy.log_prob(text) + weight * math.log(probability)
                expected[text] = log_prob / (len(text) + 1)
        best = max(expected, key=expected.get)
        assert hypotheses[0].ids == best
        assert math.isclose(hypotheses[0].score, expected[best], rel_tol=1e-9)


def test_fusion_adds_its_scores_and_follows_its_states():
    class Bigram:
        """Adds 9 to symbol 2 after symbol 1, nothing else; its state is the last symbol."""

        word_bonus = 9.0

        def start(self, num_hypotheses):
            return np.full([num_hypotheses, 1], -1)

        def scores(self, states):
            added = np.zeros([len(states), CLASSES], np.float32)
            added[states[:, 0] == 1, 2] = 9.0
            return added

        def follow(self, states, symbols):
            return np.asarray(symbols)[:, np.newaxis]

        def charged(self, states):
            return np.zeros(states.shape[:-1])

    toy, limit = Toy(4), 3
    found = search([toy], Options(**WIDE), limit, fusion=Bigram())[0]
    for hypothesis in found:
        bonus = 9.0 * sum(pair == (1, 2) for pair in itertools.pairwise(hypothesis.ids))
        expected = (toy.log_prob(hypothesis.ids) + bonus) / (len(hypothesis.ids) + 1)
        assert math.isclose(hypothesis.score, expected, abs_tol=1e-6)
    assert (1, 2) in set(itertools.pairwise(found[0].ids))


def test_a_vague_peak_that_runs_back_in_time_moves_between_its_neighbours():
    spans = make_spans(np.array([2, 30, 7, 9]), np.array([0.9, 0.01, 0.8, 0.9]), np.zeros(4))
    assert [span.start_frame for span in spans] == [2, 7, 7, 9]
    assert make_spans(np.array([], int), np.array([]), np.array([])) == ()


@pytest.mark.parametrize(
    ('text', 'repeats'),
    [
        ('', False),
        ('aaaaaaa', False),  # a drawl, not yet a loop
        ('aaaaaaaa', True),
        ('hello hello', False),
        ('the cat the cat the cat', False),  # the last space is missing: two and a bit
        ('so the cat the cat the cat the', True),
        ('abcabcabcab', True),
        ('one two three four', False),
    ],
)
def test_a_text_that_says_the_same_three_times_repeats_itself(text, repeats):
    assert repeats_itself([ord(letter) for letter in text]) is repeats
