"""The batch plan: order, coverage, budgets, repeatability."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from utils.data.batching import BatchSize, cut, padded_frames, plan_epoch, worst_batch

FRAMES = np.array([30, 10, 20, 50, 40])


def rows(batches):
    return [batch.tolist() for batch in batches]


def test_first_epoch_goes_from_the_shortest_to_the_longest():
    assert rows(plan_epoch(FRAMES, BatchSize(2), seed=1, epoch=0, sortagrad=True)) == [[1, 2], [0, 4], [3]]


def test_a_budget_counts_padding():
    # 10, 20 and 30 frames padded to 30 each would be 90
    assert rows(cut(np.array([1, 2, 0, 4, 3]), FRAMES, BatchSize(frames=80))) == [[1, 2], [0, 4], [3]]
    assert rows(cut(np.array([1, 2, 0, 4, 3]), FRAMES, BatchSize(frames=90))) == [[1, 2, 0], [4], [3]]


def test_an_utterance_beyond_the_budget_stands_alone():
    assert rows(cut(np.arange(3), np.array([5, 500, 5]), BatchSize(frames=10))) == [[0], [1], [2]]


def test_each_replica_gets_at_least_one_utterance():
    size = BatchSize(2).times(2)
    assert rows(cut(np.arange(5), FRAMES, size)) == [[0, 1, 2, 3, 4]]
    assert rows(cut(np.arange(6), np.full(6, 9), size)) == [[0, 1, 2, 3], [4, 5]]


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(0, 500),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_utterance_comes_once_an_epoch(lengths, utterances, frames, epoch, sortagrad):
    lengths = np.array(lengths)
    plan = plan_epoch(lengths, BatchSize(utterances, frames), 7, epoch, sortagrad)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    if frames:
        assert all(padded_frames(batch, lengths) <= frames or len(batch) == 1 for batch in plan)
    else:
        assert all(len(batch) <= utterances for batch in plan)


def test_a_plan_repeats_with_its_seed_and_differs_between_epochs():
    lengths = np.random.default_rng(0).integers(50, 500, 200)
    first, again, next_epoch, other_seed = (
        rows(plan_epoch(lengths, BatchSize(8), seed, epoch, True)) for seed, epoch in [(1, 1), (1, 1), (1, 2), (2, 1)]
    )
    assert first == again
    assert first != next_epoch and first != other_seed


def test_batches_of_later_epochs_hold_utterances_of_like_length():
    lengths = np.random.default_rng(0).integers(50, 1500, 1000)
    padded = sum(padded_frames(batch, lengths) for batch in plan_epoch(lengths, BatchSize(8), 1, 1, True))
    assert padded < 1.1 * lengths.sum()


def test_worst_batch_is_the_one_with_most_padded_frames():
    assert worst_batch([np.array([0, 1]), np.array([3]), np.array([2, 4])], FRAMES).tolist() == [2, 4]


def test_the_rows_of_an_epoch_are_planned_alone():
    chosen = np.array([0, 2, 3])
    assert rows(plan_epoch(FRAMES, BatchSize(2), 1, 0, True, chosen)) == [[2, 0], [3]]  # 20, 30, 50 frames
    later = plan_epoch(FRAMES, BatchSize(2), 1, 1, True, chosen)
    assert sorted(np.concatenate(later).tolist()) == [0, 2, 3] and max(map(len, later)) == 2
