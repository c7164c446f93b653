"""Prefix beam search against exhaustive search over all paths."""

import itertools
import math

import numpy as np
import pytest

from tests.oracles import (
    BLANK,
    TOKENS,
    WORD_TEXT,
    boost_of_words,
    char_model,
    collapse,
    hotwords_of,
    ngram_model,
    word_model,
)
from utils.decode.ctc_beam import BeamOptions, decode
from utils.decode.decoder import BeamDecoder
from utils.decode.hypothesis import words
from utils.errors import DataError, UsageError
from utils.lm.scorer import Weights, make_scorer, model_unit, no_scorer, with_weights

EVERYTHING = BeamOptions(beam_width=5000, num_best=10, symbol_mass=1.0, threshold=500.0)


def posteriors(rng, frames, classes=4, sharpness=1.5):
    logits = sharpness * rng.normal(size=(frames, classes))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def all_texts(log_probs, blank_id=BLANK):
    """{ids: log p(ids | x)} by summing over every path."""
    found = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        log_prob = sum(float(log_probs[frame, symbol]) for frame, symbol in enumerate(path))
        ids = collapse(path, blank_id)
        found[ids] = np.logaddexp(found.get(ids, -np.inf), log_prob)
    return found


def decode_one(log_probs, options=EVERYTHING, scorer=None, blank_id=BLANK):
    return decode([log_probs], blank_id, options, scorer)[0]


def assert_best(hypotheses, expected):
    """The hypotheses are those with the highest expected scores, and say so."""
    ranked = sorted(expected.items(), key=lambda item: -item[1])[: len(hypotheses)]
    np.testing.assert_allclose([each.score for each in hypotheses], [score for _, score in ranked], atol=1e-4)
    for each in hypotheses:
        assert each.score == pytest.approx(expected[each.ids], abs=1e-4)


@pytest.mark.parametrize('seed', range(8))
def test_without_language_model_it_finds_what_exhaustive_search_finds(seed):
    log_probs = posteriors(np.random.default_rng(seed), 6)
    hypotheses = decode_one(log_probs)
    assert len(hypotheses) == 10
    assert_best(hypotheses, all_texts(log_probs))


def word_score(lm, ids, weights, known_only=False):
    words = ''.join(TOKENS[symbol] for symbol in ids).split()
    unknown = [word for word in words if word not in lm.word_ids]
    if unknown and known_only:
        return -np.inf
    spelling = -math.log(len(TOKENS)) * sum(map(len, unknown))
    return weights.lm_weight * (lm.log_probs(words).sum() + spelling) + weights.word_bonus * len(words)


@pytest.mark.parametrize('known_only', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_with_a_word_model_it_finds_what_exhaustive_search_finds(tmp_path, seed, known_only):
    lm, weights = word_model(tmp_path), Weights(0.8, 0.7)
    log_probs = posteriors(np.random.default_rng(seed), 6)
    scorer = make_scorer(lm, TOKENS, weights, unknown_words=not known_only)
    scores = {
        ids: log_prob + word_score(lm, ids, weights, known_only) for ids, log_prob in all_texts(log_probs).items()
    }
    assert_best(decode_one(log_probs, scorer=scorer), scores)


@pytest.mark.parametrize('seed', range(4))
def test_with_a_character_model_it_finds_what_exhaustive_search_finds(tmp_path, seed):
    lm, weights = char_model(tmp_path), Weights(0.9, 1.1)
    log_probs = posteriors(np.random.default_rng(seed), 6)
    scores = {}
    for ids, log_prob in all_texts(log_probs).items():
        letters = ['<SPACE>' if symbol == 0 else TOKENS[symbol] for symbol in ids]
        scores[ids] = log_prob + 0.9 * lm.log_probs(letters).sum() + 1.1 * len(ids)
    assert_best(decode_one(log_probs, scorer=make_scorer(lm, TOKENS, weights)), scores)


@pytest.mark.parametrize('seed', range(4))
def test_with_a_character_model_and_a_lexicon_it_finds_what_exhaustive_search_finds(tmp_path, seed):
    (tmp_path / 'words').mkdir()
    words = ngram_model(tmp_path / 'words', [['ab'], ['b'], ['ba']], order=1)
    lm, weights = char_model(tmp_path), Weights(0.9, 1.1)
    log_probs = posteriors(np.random.default_rng(seed), 6)
    scores = {}
    for ids, log_prob in all_texts(log_probs).items():
        text = ''.join(TOKENS[symbol] for symbol in ids)
        letters = ['<SPACE>' if letter == ' ' else letter for letter in text]
        allowed = set(text.split()) <= {'ab', 'b', 'ba'}
        scores[ids] = log_prob + 0.9 * lm.log_probs(letters).sum() + 1.1 * len(ids) if allowed else -np.inf
    assert_best(decode_one(log_probs, scorer=make_scorer(lm, TOKENS, weights, lexicon_model=words)), scores)


HOTWORDS = {'ba': 0.9, 'ab b': 0.4, 'b': 0.3, 'bab a': 1.2, 'a': -0.5}


@pytest.mark.parametrize('unit', ['none', 'word', 'closed', 'char'])
@pytest.mark.parametrize('seed', range(3))
def test_with_hot_words_it_finds_what_exhaustive_search_finds(tmp_path, seed, unit):
    """"ba" and "bab" are no words of the model; they share the probability of an unknown word."""
    found, weights = hotwords_of(HOTWORDS), Weights(0.8, 0.7)
    log_probs, scores = posteriors(np.random.default_rng(seed), 6), {}
    scorer = no_scorer(len(TOKENS))
    if unit == 'char':
        lm = char_model(tmp_path)
        scorer = make_scorer(lm, TOKENS, weights, hotwords=found.words)
    elif unit != 'none':
        lm = word_model(tmp_path)
        scorer = make_scorer(lm, TOKENS, weights, unknown_words=unit == 'word', hotwords=found.words)
    for ids, log_prob in all_texts(log_probs).items():
        text = ''.join(TOKENS[symbol] for symbol in ids)
        lm_score, listed = 0.0, ('ba', 'bab')
        if unit == 'char':
            letters = ['<SPACE>' if letter == ' ' else letter for letter in text]
            lm_score = 0.8 * lm.log_probs(letters).sum() + 0.7 * len(text)
        elif unit != 'none':
            lm_score = 0.8 * lm.log_probs(text.split()).sum() + 0.7 * len(text.split())
            for word in text.split():
                if word in listed:
                    lm_score -= 0.8 * math.log(2)
                elif word not in ('a', 'b', 'ab'):
                    lm_score += -np.inf if unit == 'closed' else -0.8 * math.log(3) * len(word)
        scores[ids] = log_prob + lm_score + boost_of_words(text, HOTWORDS)
    hypotheses = decode_one(log_probs, scorer=scorer._replace(hotwords=found.graph))
    assert_best(hypotheses, scores)
    for each in hypotheses:
        text = ''.join(TOKENS[symbol] for symbol in each.ids)
        assert each.boost == pytest.approx(boost_of_words(text, HOTWORDS), abs=1e-9)


@pytest.mark.parametrize('seed', range(4))
def test_a_narrow_beam_with_hot_words_scores_what_it_returns_exactly(seed):
    log_probs, graph = posteriors(np.random.default_rng(200 + seed), 7, sharpness=0.7), hotwords_of(HOTWORDS).graph
    texts, greedy = all_texts(log_probs), collapse(log_probs.argmax(axis=1))

    def score(ids):
        return texts[ids] + boost_of_words(''.join(TOKENS[symbol] for symbol in ids), HOTWORDS)

    for width in (1, 2, 3):
        options = BeamOptions(beam_width=width, symbol_mass=0.6, threshold=1.0)
        best = decode_one(log_probs, options, no_scorer(len(TOKENS))._replace(hotwords=graph))[0]
        assert best.score == pytest.approx(score(best.ids), abs=1e-4)
        assert best.score >= score(greedy) - 1e-4


@pytest.mark.parametrize('seed', range(6))
def test_a_narrow_pruned_beam_scores_what_it_returns_exactly_and_never_below_greedy(tmp_path, seed):
    lm, weights = word_model(tmp_path), Weights(1.5, -0.5)
    log_probs = posteriors(np.random.default_rng(100 + seed), 7, sharpness=0.7)
    texts = all_texts(log_probs)
    greedy = collapse(log_probs.argmax(axis=1))
    for width in (1, 2, 3):
        options = BeamOptions(beam_width=width, symbol_mass=0.6, threshold=1.0)
        best = decode_one(log_probs, options)[0]
        assert best.log_prob == best.score == pytest.approx(texts[best.ids], abs=1e-4)
        assert best.score >= texts[greedy] - 1e-4
        best = decode_one(log_probs, options, make_scorer(lm, TOKENS, weights))[0]
        assert best.score >= texts[greedy] + word_score(lm, greedy, weights) - 1e-4
        assert best.score == pytest.approx(best.log_prob + 1.5 * best.lm_log_prob - 0.5 * best.num_words, abs=1e-9)


def test_alignments_of_one_text_are_merged():
    """Blank is the best symbol of both frames, 0.6 * 0.6 = 0.36; `a` has 0.4 * 0.4 + 0.4 * 0.6 + 0.6 * 0.4 = 0.64."""
    log_probs = np.log(np.array([[0.4, 0.6], [0.4, 0.6]], np.float32))
    a, empty = decode_one(log_probs, blank_id=1)
    assert (a.ids, empty.ids) == ((0,), ())
    assert (math.exp(a.log_prob), math.exp(empty.log_prob)) == pytest.approx((0.64, 0.36))


def test_a_prefix_that_comes_back_meets_its_child():
    """Three frames with a beam of two: whatever is dropped on the way, no text is found twice."""
    for seed in range(50):
        log_probs = posteriors(np.random.default_rng(seed), 12, sharpness=0.5)
        ids = [each.ids for each in decode_one(log_probs, BeamOptions(beam_width=3, num_best=3, symbol_mass=1.0))]
        assert len(set(ids)) == len(ids)


def peaked(path, classes, prob=0.9):
    log_probs = np.full((len(path), classes), math.log((1 - prob) / (classes - 1)), np.float32)
    log_probs[np.arange(len(path)), path] = math.log(prob)
    return log_probs


def test_hello_keeps_its_double_l():
    tokens = 'helo'
    path = [0, 0, 4, 1, 2, 2, 4, 2, 3, 3, 4]  # h h _ e l l _ l o o _
    best = decode_one(peaked(path, 5), BeamOptions(), blank_id=4)[0]
    assert ''.join(tokens[symbol] for symbol in best.ids) == 'hello'
    assert [span[:2] for span in best.frames] == [(0, 2), (3, 4), (4, 6), (7, 8), (8, 10)]
    assert best.frames[0].log_prob == pytest.approx(2 * math.log(0.9), abs=1e-5)
    assert [word.word for word in words(best, tokens, None, 0.01)] == ['h', 'e', 'l', 'l', 'o']


def test_a_repeated_symbol_needs_a_blank_between():
    best = decode_one(peaked([1, 1, 1], 4), BeamOptions())[0]
    assert best.ids == (1,)


def test_the_language_model_decides_between_words_that_sound_alike(tmp_path):
    lm = ngram_model(tmp_path, [['bad', 'dog'], ['bad', 'dog'], ['dad']])
    tokens = [' ', *'abdgo']
    path = [2, 1, 3, 0, 3, 5, 4]  # bad dog
    log_probs = peaked(path, 7)
    log_probs[0, 3], log_probs[0, 2] = math.log(0.5), math.log(0.4167)  # more like "dad dog"
    scorer = make_scorer(lm, tokens, Weights(1.0, 0.0))
    texts = [
        ''.join(tokens[symbol] for symbol in decode_one(log_probs, BeamOptions(), each, blank_id=6)[0].ids)
        for each in (None, scorer, with_weights(scorer, Weights(0.0, 0.0)))
    ]
    assert texts == ['dad dog', 'bad dog', 'dad dog']


def test_forbidden_words_never_come_out_even_where_nothing_else_fits(tmp_path):
    scorer = make_scorer(ngram_model(tmp_path, [['ab']]), TOKENS, Weights(1.0, 0.0), unknown_words=False)
    for path in ([1, 3, 0, 2], [1, 3, 3], [2, 2]):
        for each in decode_one(peaked(path, 4, 0.9999), BeamOptions(num_best=4), scorer):
            assert set(''.join(TOKENS[symbol] for symbol in each.ids).split()) <= {'ab'}
            assert each.score > -np.inf


def test_padding_and_neighbours_in_the_batch_change_nothing():
    rng = np.random.default_rng(3)
    utterances = [posteriors(rng, frames) for frames in (5, 9, 0, 7)]
    batch = np.full((4, 12, 4), np.nan, np.float32)
    for row, log_probs in enumerate(utterances):
        batch[row, : len(log_probs)] = log_probs
    expected = [decode_one(log_probs, BeamOptions()) for log_probs in utterances]
    assert decode(utterances, BLANK, num_threads=3) == expected
    best = BeamDecoder(BLANK, BeamOptions(), None).decode(batch, np.array([5, 9, 0, 7]))
    assert best == [hypotheses[0] for hypotheses in expected]
    assert (best[2].ids, best[2].log_prob) == ((), 0.0)


def test_case_of_the_model_is_folded_to_the_vocabularys(tmp_path):
    (tmp_path / 'upper').mkdir()
    upper = ngram_model(tmp_path / 'upper', [line.upper().split() for line in WORD_TEXT])
    log_probs = posteriors(np.random.default_rng(0), 6)
    lower = make_scorer(word_model(tmp_path), TOKENS, Weights(0.8, 0.7))
    folded = make_scorer(upper, TOKENS, Weights(0.8, 0.7))
    assert decode_one(log_probs, scorer=folded) == decode_one(log_probs, scorer=lower)


def test_models_that_do_not_fit_are_refused(tmp_path):
    words, letters = word_model(tmp_path), char_model(tmp_path)
    assert (model_unit(words, TOKENS), model_unit(letters, TOKENS)) == ('word', 'char')
    with pytest.raises(DataError, match='has no <SPACE> to end a word with'):
        make_scorer(words, ['a', 'b'], Weights(1.0, 0.0))
    with pytest.raises(DataError, match='none of its words .* can be spelled'):
        make_scorer(words, [' ', 'x', 'y'], Weights(1.0, 0.0))
    with pytest.raises(DataError, match='lm_weight -1'):
        make_scorer(words, TOKENS, Weights(-1.0, 0.0))
    with pytest.raises(DataError, match='5 classes do not fit a vocabulary of 3 tokens'):
        decode_one(posteriors(np.random.default_rng(0), 3, 5), scorer=make_scorer(words, TOKENS, Weights()), blank_id=4)


def test_a_model_that_the_vocabulary_spells_in_part_is_named(tmp_path, caplog):
    make_scorer(ngram_model(tmp_path, [['a', 'xyz', 'zyx']]), TOKENS, Weights(1.0, 0.0))
    assert 'only 1 of 3 words' in caplog.text


def test_what_are_no_posteriors_is_refused():
    with pytest.raises(DataError, match='not logits'):
        decode_one(np.ones((2, 4), np.float32))
    with pytest.raises(DataError, match='NaN'):
        decode_one(np.full((2, 4), np.nan, np.float32))
    with pytest.raises(UsageError, match='beam_width 0'):
        BeamOptions(beam_width=0)
