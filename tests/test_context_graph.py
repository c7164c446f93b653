"""The automaton of hot words against plain string matching."""

import itertools

import numpy as np
import pytest

from tests.oracles import TOKENS, boost_of_words
from utils.lm.context_graph import boost, build_graph, end, follow_all, score_classes, step

LISTS = [
    {'a': 1.0},
    {'ab': 2.0, 'ab a': 0.5, 'a': 1.0},
    {'a b': 1.0, 'b a': 3.0, 'b ab a': 2.0, 'b': 0.25},
    {'ab': -2.0, 'a b a': 1.5, 'a b': -1.0},
    {'ab': 1.0, 'abb': 5.0, 'ba ab': 0.0},
]
TEXTS = [ids for length in range(8) for ids in itertools.product(range(3), repeat=length)]


def ids_of(text, tokens=TOKENS):
    return tuple(map(list(tokens).index, text))


def graph_of(weights):
    return build_graph({ids_of(phrase): weight for phrase, weight in weights.items()}, space_id=0)


@pytest.mark.parametrize('weights', LISTS)
def test_every_text_gets_what_its_whole_words_match(weights):
    graph = graph_of(weights)
    for ids in TEXTS:
        expected = boost_of_words(''.join(TOKENS[token] for token in ids), weights)
        assert boost(graph, np.array(ids, np.int64)) == pytest.approx(expected, abs=1e-9), ids


def test_without_a_space_phrases_match_everywhere():
    weights = {'ab': 1.0, 'aba': 2.0, 'bb': 3.0, 'b': 0.5}
    graph = build_graph({ids_of(phrase, 'ab'): weight for phrase, weight in weights.items()})
    for length in range(8):
        for ids in itertools.product(range(2), repeat=length):
            text = ''.join('ab'[token] for token in ids)
            found = ((phrase, place) for phrase in weights for place in range(length) if text.startswith(phrase, place))
            expected = sum(weights[phrase] * len(phrase) for phrase, _ in found)
            assert boost(graph, np.array(ids, np.int64)) == pytest.approx(expected, abs=1e-9), text


def test_letters_are_credited_one_by_one_and_taken_back_where_the_phrase_is_not_finished():
    tokens = ' eknorwy'
    graph = build_graph({ids_of('new york', tokens): 2.0}, space_id=0)

    def charges(text):
        node, added = graph.start, []
        for token in ids_of(text, tokens):
            value, node = step(graph, node, token)
            added.append(value)
        return [*added, end(graph, node)]

    assert charges('new york') == [2.0] * 8 + [0.0]
    assert charges('new yorker') == [2.0] * 8 + [-16.0, 0.0, 0.0]
    assert charges('new yo') == [2.0] * 6 + [-12.0]
    assert charges('ne new') == [2.0, 2.0, -4.0, 2.0, 2.0, 2.0, -6.0]
    assert charges('renew york') == [0.0] * 11


@pytest.mark.parametrize('weights', LISTS)
def test_no_symbol_adds_more_than_the_bound_of_its_node(weights):
    graph = graph_of(weights)
    for ids in TEXTS:
        node = graph.start
        for token in ids:
            before, (added, node) = node, step(graph, node, token)
            assert added <= graph.bounds[before] + 1e-12
        assert end(graph, node) <= graph.bounds[node] + 1e-12


@pytest.mark.parametrize('weights', LISTS)
def test_the_scores_of_all_classes_are_those_of_each(weights):
    graph = graph_of(weights)
    nodes = np.arange(len(graph.tokens))
    scores = np.empty((len(nodes), 4))
    score_classes(graph, nodes, scores)
    for node in nodes:
        expected = [*(step(graph, node, token)[0] for token in range(3)), end(graph, node)]
        np.testing.assert_array_equal(scores[node], expected)
    for token in range(4):
        following = nodes.copy()
        follow_all(graph, following, np.full(len(nodes), token), 3)
        assert following.tolist() == [node if token == 3 else step(graph, node, token)[1] for node in nodes]


def test_an_empty_list_adds_nothing():
    graph = build_graph({}, space_id=0)
    assert len(graph.tokens) == 1
    assert [boost(graph, np.array(ids, np.int64)) for ids in TEXTS[:40]] == [0.0] * 40
