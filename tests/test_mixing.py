"""Mixtures of training indexes: shares, coverage, and the plans made of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from utils.data.batching import BatchSize, plan_epoch
from utils.data.mixing import Mixture

ORIGINS = np.array([0] * 6 + [1] * 4)


def taken(mixture, epoch):
    """Utterances of an epoch, sorted, each as often as it comes."""
    return sorted(mixture.rows[mixture.epoch(epoch)].tolist())


def test_half_of_an_index_is_another_half_in_the_next_epoch():
    mixture = Mixture(ORIGINS, (1, 0.5), seed=1)
    first, second, third = (taken(mixture, epoch) for epoch in range(3))
    assert first[:6] == second[:6] == [0, 1, 2, 3, 4, 5] and len(first) == len(second) == 8
    assert sorted(first[6:] + second[6:]) == [6, 7, 8, 9]
    assert third == first
    assert mixture.counts(0) == [6, 2]


def test_an_utterance_that_comes_twice_has_a_slot_for_each_time():
    mixture = Mixture(ORIGINS, (1, 2), seed=1)
    assert taken(mixture, 3) == [0, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    assert mixture.epoch(3).tolist() == list(range(14))
    assert mixture.rows.tolist() == [*range(10), 6, 7, 8, 9]


def test_one_and_a_half_takes_all_once_and_half_of_them_again():
    mixture = Mixture(ORIGINS, (1.5, 1), seed=1)
    first, second = (np.bincount(taken(mixture, epoch), minlength=10) for epoch in range(2))
    assert sorted(first[:6]) == sorted(second[:6]) == [1, 1, 1, 2, 2, 2] and set(first[6:]) == {1}
    assert (first[:6] + second[:6]).tolist() == [3] * 6


def test_another_seed_takes_another_half():
    halves = {tuple(taken(Mixture(np.zeros(40, int), (0.5,), seed), 0)) for seed in range(4)}
    assert len(halves) == 4


@given(st.integers(1, 40), st.integers(1, 300).map(lambda percent: percent / 100), st.integers(0, 50))
def test_no_utterance_comes_more_often_than_its_weight_rounded_up(size, weight, epoch):
    mixture = Mixture(np.zeros(size, int), (weight,), seed=3)
    counts = np.bincount(taken(mixture, epoch), minlength=size)
    assert int(weight) <= counts.min() and counts.max() <= -(-weight // 1)
    assert size * weight - 1e-6 <= counts.sum() < size * weight + 2
    epochs = range(epoch, epoch + int(np.ceil(1 / min(weight, 1))))
    assert set().union(*(taken(mixture, each) for each in epochs)) == set(range(size))


def test_weights_of_one_change_no_plan():
    frames, mixture = np.random.default_rng(0).integers(50, 500, 10), Mixture(ORIGINS, (1, 1), seed=1)
    for epoch in range(3):
        plain = plan_epoch(frames, BatchSize(3), 1, epoch, True)
        mixed = plan_epoch(frames[mixture.rows], BatchSize(3), 1, epoch, True, mixture.epoch(epoch))
        assert [batch.tolist() for batch in mixed] == [batch.tolist() for batch in plain]
