"""Kneser-Ney estimation against numbers worked out by hand, and the axioms of probability."""

import itertools

import numpy as np
import pytest

from utils.errors import DataError
from utils.lm.arpa import write_arpa
from utils.lm.kneser_ney import adjusted_counts, count_ngrams, discounts, estimate, read_corpus
from utils.lm.ngram import load_model

TEXT = ['a b', 'a b', 'a c']


def table(corpus, rows):
    """{'a b': (probability, backoff weight)} of one order."""
    return {
        ' '.join(corpus.words[word] for word in gram): (10**log_prob, 10**backoff)
        for gram, log_prob, backoff in zip(rows.ngrams.tolist(), rows.log_probs, rows.backoffs, strict=True)
    }


def test_a_small_text_by_hand():
    """Bigrams: <s> a 3, a b 2, a c 1, b </s> 2, c </s> 1.

    Unigrams count the different words before them: a 1, b 1, c 1, </s> 2; no <s>. Neither order has n-grams
    counted 1 to 4 times each, so the discounts are 0.5, 1 and 1.5.
    """
    corpus = read_corpus(line.split() for line in TEXT)
    unigrams, bigrams = (table(corpus, rows) for rows in estimate(corpus, 2))
    # gamma() = (3 * 0.5 + 1 * 1) / 5 = 0.5, of which each of <unk>, </s>, a, b, c gets a fifth
    assert {word: p for word, (p, _) in unigrams.items()} == pytest.approx(
        {'<unk>': 0.1, '<s>': 0.0, '</s>': 1 / 5 + 0.1, 'a': 0.5 / 5 + 0.1, 'b': 0.2, 'c': 0.2}
    )
    # gamma(<s>) = 1.5/3, gamma(a) = (1 + 0.5)/3, gamma(b) = 1/2, gamma(c) = 0.5/1; nothing follows </s> or <unk>
    assert {word: backoff for word, (_, backoff) in unigrams.items()} == pytest.approx(
        {'<unk>': 1, '<s>': 0.5, '</s>': 1, 'a': 0.5, 'b': 0.5, 'c': 0.5}
    )
    assert {gram: p for gram, (p, _) in bigrams.items()} == pytest.approx(
        {
            '<s> a': 1.5 / 3 + 0.5 * 0.2,
            'a b': 1 / 3 + 0.5 * 0.2,
            'a c': 0.5 / 3 + 0.5 * 0.2,
            'b </s>': 1 / 2 + 0.5 * 0.3,
            'c </s>': 0.5 / 1 + 0.5 * 0.3,
        }
    )


def test_pruned_counts_go_to_the_backoff_weight():
    corpus = read_corpus(line.split() for line in TEXT)
    unigrams, bigrams = (table(corpus, rows) for rows in estimate(corpus, 2, prune=[0, 1]))
    assert set(bigrams) == {'<s> a', 'a b', 'b </s>'}
    # of the context a: the discount 1 of `a b` and the whole count 1 of `a c`
    assert unigrams['a'][1] == pytest.approx(2 / 3)
    assert bigrams['a b'][0] == pytest.approx(1 / 3 + 2 / 3 * 0.2)
    assert unigrams['c'][1] == pytest.approx(1)


def test_discounts_by_hand():
    # n1 = 4, n2 = 2, n3 = 2, n4 = 1: Y = 4/8; D1 = 1 - 2 Y 2/4, D2 = 2 - 3 Y 2/2, D3 = 3 - 4 Y 1/2
    np.testing.assert_allclose(discounts(np.array([1, 1, 1, 1, 2, 2, 3, 3, 4, 9])), [0, 0.5, 0.5, 2.0])
    assert discounts(np.array([1, 1, 2, 3])) is None


def test_counts_of_lower_orders_are_of_different_words_before():
    corpus = read_corpus([['x', 'a'], ['y', 'a'], ['y', 'a'], ['a']])
    unigrams, bigrams, trigrams = adjusted_counts(count_ngrams(corpus, 3))
    counts = dict(zip(corpus.words, unigrams.tolist(), strict=True))
    assert counts == {'<unk>': 0, '<s>': 0, '</s>': 1, 'x': 1, 'a': 3, 'y': 1}
    # <s> x, <s> a and <s> y as often as they stand there; then x a, a </s> and y a by what precedes them
    assert bigrams.tolist() == [1, 1, 2, 1, 3, 1]
    assert trigrams.sum() == 2 * 3 + 1


@pytest.mark.parametrize(('order', 'prune'), [(1, []), (2, []), (3, [0, 0, 1]), (4, [0, 1, 2]), (6, [])])
def test_probabilities_sum_up_to_one_after_every_history(tmp_path, order, prune):
    rng = np.random.default_rng(0)
    sentences = [
        rng.choice(list('abcde'), size=rng.integers(1, 9), p=[0.4, 0.3, 0.2, 0.05, 0.05]).tolist() for _ in range(60)
    ]
    corpus = read_corpus(sentences)
    write_arpa(tmp_path / 'lm.arpa', corpus.words, estimate(corpus, order, prune))
    model = load_model(tmp_path / 'lm.arpa')
    predicted = [word for word in model.words if word != '<s>']
    for history in itertools.product('abcdez', repeat=3):
        probabilities = [np.exp(model.log_probs([*history, word], with_end=False)[-1]) for word in predicted]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_estimated_discounts_are_used_where_the_text_gives_them():
    rng = np.random.default_rng(0)
    words = (200 * rng.pareto(1.0, size=4000)).astype(int).astype(str).reshape(-1, 5)
    corpus = read_corpus(words.tolist())
    *_, counts = adjusted_counts(count_ngrams(corpus, 2))
    found = discounts(counts)
    assert found is not None
    unigrams, bigrams = (table(corpus, rows) for rows in estimate(corpus, 2))
    gram, count = next(
        (gram, c) for gram, c in zip(bigrams, counts.tolist(), strict=True) if c == 1 and '<s>' not in gram
    )
    first, second = gram.split()
    total = sum(c for other, c in zip(bigrams, counts.tolist(), strict=True) if other.split()[0] == first)
    expected = (count - found[1]) / total + unigrams[first][1] * unigrams[second][0]
    assert bigrams[gram][0] == pytest.approx(expected)


def test_orders_that_no_sentence_reaches_are_left_out(caplog):
    corpus = read_corpus([['a'], ['b']])
    assert [len(rows.log_probs) for rows in estimate(corpus, 5)] == [5, 4, 2]
    assert 'order 3' in caplog.text


def test_the_arpa_file_is_laid_out_as_other_tools_expect(tmp_path):
    corpus = read_corpus([['a']])
    write_arpa(tmp_path / 'lm.arpa', corpus.words, estimate(corpus, 2))
    lines = (tmp_path / 'lm.arpa').read_text().splitlines()
    assert lines[:5] == ['\\data\\', 'ngram 1=4', 'ngram 2=2', '', '\\1-grams:']
    assert lines[6].startswith('-99\t<s>\t-')
    assert lines[-1] == '\\end\\'
    assert [line.count('\t') for line in lines if line.startswith('-')] == [2, 2, 2, 2, 1, 1]


def test_text_without_words_or_with_boundary_symbols_is_refused():
    with pytest.raises(DataError, match='no words'):
        read_corpus([[], []])
    with pytest.raises(DataError, match='sentence 2 .* holds </s>'):
        read_corpus([['a'], ['b', '</s>']])
