"""An n-gram model in a search over scorer, against the model's own scores of whole texts."""

import itertools
import math

import numpy as np
import pytest

from tests.oracles import TOKENS, char_model, word_model
from utils.lm.scorer import Weights, make_scorer, no_scorer, with_weights

END = len(TOKENS)
WEIGHTS = Weights(0.8, 0.7)
TEXTS = [ids for length in range(6) for ids in itertools.product(range(3), repeat=length)]


def walk(scorer, ids, weighted=True):
    """What a text has been charged, `</s>` included, symbol by symbol."""
    scorer = scorer if weighted else with_weights(scorer, Weights(1.0, 0.0))
    states = scorer.start(1)
    charged = []
    for symbol in (*ids, END):
        charged.append(scorer.scores(states)[0, symbol])
        states = scorer.follow(states, np.array([symbol]))
    return charged


def slow_word_score(model, ids, known_only):
    """log P_LM and the number of words of a text from its words, -inf where it holds a forbidden one."""
    words = ''.join(TOKENS[symbol] for symbol in ids).split()
    unknown = [word for word in words if word not in model.word_ids]
    if unknown and known_only:
        return -np.inf, len(words)
    return model.log_probs(words).sum() - math.log(len(TOKENS)) * sum(map(len, unknown)), len(words)


@pytest.mark.parametrize('known_only', [False, True])
def test_with_a_word_model_every_text_is_charged_what_its_words_cost(tmp_path, known_only):
    model = word_model(tmp_path)
    scorer = make_scorer(model, TOKENS, WEIGHTS, unknown_words=not known_only)
    for ids in TEXTS:
        log_prob, num_words = slow_word_score(model, ids, known_only)
        assert sum(walk(scorer, ids)) == pytest.approx(0.8 * log_prob + 0.7 * num_words, abs=1e-4), ids
        assert sum(walk(scorer, ids, weighted=False)) == pytest.approx(log_prob, abs=1e-4), ids


def test_a_space_brings_the_charge_of_an_open_word_to_its_log_probability(tmp_path):
    model = word_model(tmp_path)
    scorer = make_scorer(model, TOKENS, WEIGHTS)
    charged = walk(scorer, (1, 2, 0, 1), weighted=False)  # "ab a"
    assert sum(charged[:3]) == pytest.approx(model.log_probs(['ab'], with_end=False).sum(), abs=1e-5)
    # "a" may become "a" or "ab", of which "ab" is the more frequent
    assert charged[0] == pytest.approx(max(model.tables.log_probs[1 + model.word_ids[word]] for word in ('a', 'ab')))


def test_with_a_character_model_every_symbol_costs_what_the_model_says(tmp_path):
    model = char_model(tmp_path)
    scorer = make_scorer(model, TOKENS, WEIGHTS)
    for ids in TEXTS:
        letters = ['<SPACE>' if symbol == 0 else TOKENS[symbol] for symbol in ids]
        np.testing.assert_allclose(walk(scorer, ids, weighted=False), model.log_probs(letters), atol=1e-5)
        expected = 0.8 * model.log_probs(letters).sum() + 0.7 * len(ids)
        assert sum(walk(scorer, ids)) == pytest.approx(expected, abs=1e-4)


def test_a_lexicon_beside_a_character_model_forbids_other_words_and_changes_nothing_else(tmp_path):
    (tmp_path / 'words').mkdir()
    words, letters = word_model(tmp_path / 'words'), char_model(tmp_path)
    free = make_scorer(letters, TOKENS, WEIGHTS)
    bound = make_scorer(letters, TOKENS, WEIGHTS, lexicon_model=words)
    for ids in TEXTS:
        text = ''.join(TOKENS[symbol] for symbol in ids)
        expected = sum(walk(free, ids)) if set(text.split()) <= {'a', 'b', 'ab'} else -np.inf
        assert sum(walk(bound, ids)) == pytest.approx(expected, abs=1e-5), text


def test_all_symbols_that_a_character_model_lacks_cost_the_same(tmp_path):
    model = char_model(tmp_path)
    scorer = make_scorer(model, [*TOKENS, 'x', 'y'], Weights(1.0, 0.0))
    states = scorer.follow(scorer.start(1), np.array([1]))
    unknown = model.log_probs(['a', 'x'], with_end=False)[1]
    np.testing.assert_allclose(scorer.scores(states)[0, 3:5], unknown, atol=1e-6)


@pytest.mark.parametrize('known_only', [False, True])
def test_hot_words_that_the_model_lacks_share_the_unknown_word(tmp_path, known_only):
    model, listed = word_model(tmp_path), {'ba': (2, 1), 'bbb': (2, 2, 2), 'ab': (1, 2)}
    plain = make_scorer(model, TOKENS, WEIGHTS, unknown_words=not known_only)
    scorer = make_scorer(model, TOKENS, WEIGHTS, unknown_words=not known_only, hotwords=listed.values())
    for ids in TEXTS:
        words = ''.join(TOKENS[symbol] for symbol in ids).split()
        if not {'ba', 'bbb'} & set(words):
            assert sum(walk(scorer, ids)) == pytest.approx(sum(walk(plain, ids)), abs=1e-5), ids
        elif {'ba', 'bbb'}.issuperset(set(words) - {'a', 'b', 'ab'}):
            shared = math.log(2) * sum(word in ('ba', 'bbb') for word in words)
            expected = 0.8 * (model.log_probs(words).sum() - shared) + 0.7 * len(words)
            assert sum(walk(scorer, ids)) == pytest.approx(expected, abs=1e-4), ids


def test_no_hot_word_costs_more_than_as_an_unknown_word(tmp_path):
    many = [ids for length in range(2, 5) for ids in itertools.product((1, 2), repeat=length)]
    plain, scorer = (make_scorer(word_model(tmp_path), TOKENS, WEIGHTS, hotwords=words) for words in ((), many))
    for ids in many:
        assert sum(walk(scorer, ids)) >= sum(walk(plain, ids)) - 1e-5


@pytest.mark.parametrize('make_model', [word_model, char_model])
def test_a_hypothesis_does_not_see_its_neighbours(tmp_path, make_model):
    scorer = make_scorer(make_model(tmp_path), TOKENS, WEIGHTS)
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 3, (32, 7))
    together, alone = scorer.start(32), [scorer.start(1) for _ in texts]
    for position in range(7):
        scores = scorer.scores(together)
        assert scores.shape == (32, 4)
        np.testing.assert_array_equal(scores, np.concatenate([scorer.scores(states) for states in alone]))
        parents = rng.permutation(32)
        texts, alone = texts[parents], [alone[parent] for parent in parents]
        together = scorer.follow(together[parents], texts[:, position])
        alone = [
            scorer.follow(states, text[position : position + 1]) for states, text in zip(alone, texts, strict=True)
        ]


def test_a_lexicon_forbids_what_leads_to_no_word(tmp_path):
    scorer = make_scorer(word_model(tmp_path), TOKENS, Weights(0.0, 0.0), unknown_words=False)
    states = scorer.follow(scorer.follow(scorer.start(1), np.array([1])), np.array([2]))  # "ab"
    np.testing.assert_array_equal(scorer.scores(states), [[0, -np.inf, -np.inf, 0]])


def test_the_end_leaves_a_state_as_it_is_and_nothing_is_fused_without_a_model():
    scorer = no_scorer(3)
    states = scorer.start(2)
    np.testing.assert_array_equal(scorer.scores(states), np.zeros((2, 4)))
    np.testing.assert_array_equal(scorer.follow(states, np.array([END, 1])), states)


def test_what_does_not_fit_is_refused():
    scorer = no_scorer(3)
    with pytest.raises(ValueError, match='one class for each of 2 states'):
        scorer.follow(scorer.start(2), np.array([1]))
    with pytest.raises(ValueError, match='one class for each of 1 states'):
        scorer.follow(scorer.start(1), np.array([4]))
