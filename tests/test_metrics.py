"""Error counts against hand-counted edits and a plain dynamic programme."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.metrics import (
    ErrorCounts,
    Scores,
    align,
    character_errors,
    count_errors,
    format_alignment,
    score,
    word_errors,
)

TOKENS = st.lists(st.sampled_from(['a', 'b', 'ab', '你']), max_size=8)


def edit_distance(reference, hypothesis):
    """The textbook recursion, row by row."""
    row = list(range(len(hypothesis) + 1))
    for number, ref in enumerate(reference, 1):
        diagonal, row[0] = row[0], number
        for column, hyp in enumerate(hypothesis, 1):
            diagonal, row[column] = row[column], min(diagonal + (ref != hyp), row[column] + 1, row[column - 1] + 1)
    return row[-1]


def test_one_of_each_edit():
    # the cat [sat->sit] on [the->] mat is here [+today]
    counts = word_errors('the cat sat on the mat is here', 'the cat sit on mat is here today')
    assert counts == ErrorCounts(hits=6, substitutions=1, deletions=1, insertions=1)


def test_rate_is_errors_by_reference_length():
    counts = ErrorCounts(hits=4, substitutions=1, deletions=1, insertions=1)
    assert (counts.reference_length, counts.errors, counts.rate) == (6, 3, 0.5)


def test_rate_exceeds_one_with_many_insertions():
    assert word_errors('a', 'a b c d').rate == 3.0


def test_empty_reference_counts_insertions_and_stays_finite():
    assert word_errors('', '').rate == 0.0
    assert word_errors('', 'a b') == ErrorCounts(insertions=2)
    assert word_errors('', 'a b').rate == 2.0


def test_empty_hypothesis_is_all_deletions():
    assert word_errors('a b c', '') == ErrorCounts(deletions=3)


def test_space_is_a_character():
    assert character_errors('ab c', 'abc') == ErrorCounts(hits=3, deletions=1)


def test_surplus_white_space_is_no_error():
    assert character_errors(' ab  c ', 'ab c').errors == 0
    assert word_errors(' ab  c ', 'ab c').errors == 0


def test_multi_letter_tokens_are_compared_whole():
    assert word_errors('lv4 shi4 yang2', 'lv4 shi2 yang2') == ErrorCounts(hits=2, substitutions=1)


def test_corpus_rate_sums_edits_before_it_divides():
    scores = score(['a', 'b c d e f g h i j'], ['x', 'b c d e f g h i j'])
    assert scores.words.rate == 0.1  # the mean of the two rates would be 0.5
    assert (scores.utterances, scores.sentence_errors, scores.sentence_error_rate) == (2, 1, 0.5)


def test_chinese_characters_lead_and_the_sentence_is_the_word():
    scores = score(['绿是阳春', '烟景'], ['绿是杨春', '烟景'], has_word_boundaries=False)
    assert scores.characters == ErrorCounts(hits=5, substitutions=1)
    assert scores.words == ErrorCounts(hits=1, substitutions=1)
    assert scores.leading == scores.characters


def test_spaces_in_chinese_texts_are_ignored():
    assert score(['绿 是 阳春'], ['绿是 阳春'], has_word_boundaries=False).sentence_errors == 0


def test_empty_chinese_hypothesis_deletes_the_sentence():
    scores = score(['绿是'], [''], has_word_boundaries=False)
    assert (scores.words, scores.characters) == (ErrorCounts(deletions=1), ErrorCounts(deletions=2))


def test_scores_of_two_sets_add_up():
    together = score(['a b', 'c'], ['a', 'c'])
    assert score(['a b'], ['a']) + score(['c'], ['c']) == together


def test_scores_with_and_without_words_do_not_add_up():
    with pytest.raises(ValueError, match='cannot be added'):
        Scores(has_word_boundaries=True) + Scores(has_word_boundaries=False)


def test_missing_hypotheses_are_refused():
    with pytest.raises(ValueError):
        score(['a', 'b'], ['a'])


@given(TOKENS, TOKENS)
@settings(max_examples=200, deadline=None)
def test_errors_are_the_edit_distance(reference, hypothesis):
    counts = count_errors(reference, hypothesis)
    assert counts.errors == edit_distance(reference, hypothesis)
    assert counts.errors >= abs(len(reference) - len(hypothesis))
    assert counts.reference_length == len(reference)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis)


@given(TOKENS, TOKENS)
@settings(max_examples=200, deadline=None)
def test_alignment_reproduces_both_sides_and_the_counts(reference, hypothesis):
    pairs = align(reference, hypothesis)
    assert [ref for _, ref, _ in pairs if ref is not None] == reference
    assert [hyp for _, _, hyp in pairs if hyp is not None] == hypothesis
    operations = [operation for operation, _, _ in pairs]
    counts = [operations.count(name) for name in ('hit', 'substitution', 'deletion', 'insertion')]
    assert ErrorCounts(*counts) == count_errors(reference, hypothesis)
    assert all((ref == hyp) == (operation == 'hit') for operation, ref, hyp in pairs)


def test_alignment_names_each_operation():
    assert align(['a', 'b', 'c'], ['a', 'x']) in (
        [('hit', 'a', 'a'), ('substitution', 'b', 'x'), ('deletion', 'c', None)],
        [('hit', 'a', 'a'), ('deletion', 'b', None), ('substitution', 'c', 'x')],
    )


def test_alignment_lines_stand_below_one_another():
    pairs = [('hit', 'the', 'the'), ('substitution', 'cat', 'catch'), ('deletion', 'sat', None)]
    assert format_alignment([*pairs, ('insertion', None, 'x')]) == (
        'REF: the cat   sat *\n'
        'HYP: the catch *** x\n'
        'OP:      S     D   I'
    )  # fmt: skip


def test_wide_characters_take_two_columns():
    assert format_alignment([('deletion', '绿', None), ('insertion', None, '是'), ('substitution', '阳', 'y')]) == (
        'REF: 绿 ** 阳\n'
        'HYP: ** 是 y\n'
        'OP:  D  I  S'
    )  # fmt: skip


def test_combining_characters_take_no_column():
    assert format_alignment([('hit', 'e\u0301', 'e\u0301'), ('hit', 'a', 'a')]).startswith('REF: e\u0301 a\n')
    assert format_alignment([('deletion', '绿e\u0301', None)]).splitlines()[1] == 'HYP: ***'


def test_long_alignments_continue_in_blocks():
    text = format_alignment([('hit', 'word', 'word')] * 3, width=15)
    assert text.split('\n\n') == ['REF: word word\nHYP: word word\nOP:', 'REF: word\nHYP: word\nOP:']


def test_alignment_of_nothing_is_three_heads():
    assert format_alignment([]) == 'REF:\nHYP:\nOP:'
