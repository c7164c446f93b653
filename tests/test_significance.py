"""Confidence intervals and significance tests against scipy, plain loops and hand-computed examples."""

import math

import numpy as np
import pytest
from scipy import stats

from utils.significance import (
    difference_interval,
    error_segments,
    matched_pairs,
    rate_interval,
    resampled_sums,
    standard_error,
    sums_of_groups,
)

RNG = np.random.default_rng(5)
LENGTHS = RNG.integers(1, 15, 150)
ERRORS = RNG.binomial(LENGTHS, 0.2)
OTHER = RNG.binomial(LENGTHS, 0.3)


def test_interval_of_a_rate_is_scipys():
    def rate(errors, lengths, axis=-1):
        return errors.sum(axis) / lengths.sum(axis)

    found = stats.bootstrap(
        (ERRORS, LENGTHS), rate, paired=True, method='percentile', n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    np.testing.assert_allclose(rate_interval(ERRORS, LENGTHS), found, atol=0.004)  # the interval is 0.07 wide


def test_interval_of_a_difference_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    rates = []
    for _ in range(4000):
        rows = rng.integers(0, len(LENGTHS), len(LENGTHS))
        rates.append((ERRORS[rows].sum() - OTHER[rows].sum()) / LENGTHS[rows].sum())
    expected = np.quantile(rates, [0.025, 0.975])
    np.testing.assert_allclose(difference_interval(ERRORS, OTHER, LENGTHS), expected, atol=0.006)


def test_intervals_follow_the_seed():
    assert rate_interval(ERRORS, LENGTHS) == rate_interval(ERRORS, LENGTHS)
    assert rate_interval(ERRORS, LENGTHS) != rate_interval(ERRORS, LENGTHS, seed=2)


def test_equal_utterances_have_no_spread_and_a_single_one_no_interval():
    assert rate_interval(np.array([1, 1, 1]), np.array([4, 4, 4])) == (0.25, 0.25)
    assert rate_interval(np.array([1]), np.array([4])) is None
    assert difference_interval(np.array([1]), np.array([0]), np.array([4])) is None


def test_empty_references_do_not_divide_by_zero():
    assert rate_interval(np.array([0, 0]), np.array([0, 0])) == (0.0, 0.0)


def test_every_bootstrap_sample_has_as_many_rows_as_there_are():
    sums = resampled_sums(np.array([[1, 0], [1, 3], [1, 5]]), replicates=50)
    assert sums.shape == (50, 2) and set(sums[:, 0]) == {3}
    assert len(set(sums[:, 1])) > 5


@pytest.mark.parametrize(
    ('first', 'second', 'expected'),
    [
        ('a b c d e f', 'a b c d e f', []),
        ('x b c d e f', 'a b c d e y', [(1, 0), (0, 1)]),  # four right words lie between
        ('x b d e f', 'a b c d e f', [(2, 0)]),  # one right word does not part them
        ('x b c y e f', 'a b c d e y', [(1, 0), (1, 1)]),  # b and c part them, e alone does not
        ('a b c z d e f', 'a b z c d e f', [(1, 1)]),  # insertions on both sides of c
        ('z a b c d e f', 'a b c d e f z', [(1, 0), (0, 1)]),
        ('', 'a', [(6, 5)]),
    ],
)  # fmt: skip
def test_segments_end_with_two_words_that_both_have_right(first, second, expected):
    assert error_segments('a b c d e f'.split(), first.split(), second.split()) == expected


def test_insertion_between_two_right_words_does_not_end_a_segment():
    assert error_segments('a b c d'.split(), 'x b z c y'.split(), 'a b c d'.split()) == [(3, 0)]


def test_matched_pairs_are_those_computed_by_hand():
    # differences 1, -1, 0, 2: mean 0.5, sample variance (0.25 + 2.25 + 0.25 + 2.25) / 3 = 5/3
    found = matched_pairs([(0, 1), (1, 0), (2, 2), (1, 3)])
    assert (found.segments, found.mean) == (4, 0.5)
    assert found.z == pytest.approx(0.5 / math.sqrt(5 / 3 / 4))
    assert found.p == pytest.approx(2 * stats.norm.sf(found.z))


def test_matched_pairs_of_equal_differences_are_a_sign_test():
    assert matched_pairs([]).p == matched_pairs([(0, 1)]).p == matched_pairs([(1, 1), (2, 2)]).p == 1
    found = matched_pairs([(1, 0)] * 8)
    assert (found.mean, found.p) == (-1, stats.binomtest(0, 8).pvalue)


def test_equal_recognisers_are_called_different_in_one_case_of_twenty():
    rng = np.random.default_rng(4)
    found = [matched_pairs(rng.poisson(1.0, (200, 2)).tolist()).p < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(found) < 0.07


def test_the_standard_error_of_a_ratio_is_that_of_the_bootstrap():
    differences = ERRORS - OTHER
    sums = resampled_sums(np.stack([differences, LENGTHS], 1), 20_000)
    assert standard_error(differences, LENGTHS) == pytest.approx((sums[:, 0] / sums[:, 1]).std(), rel=0.05)
    assert standard_error(np.array([3]), np.array([5])) == 0.0


def test_sums_of_groups_follow_the_order_of_the_groups():
    columns, groups = np.array([[1, 10], [2, 20], [3, 30]]), np.array([5, 2, 5])
    assert sums_of_groups(columns, groups).tolist() == [[2, 20], [4, 40]]
