"""Cuts of long recordings: where they fall, and that nothing is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.audio.segment import segments as cut_blocks

RATE = 1000


def segments(samples, *limits, num_blocks=3):
    return list(cut_blocks(np.array_split(samples, num_blocks), *limits))


def noise(secs, level=0.3):
    return (level * np.random.default_rng(7).standard_normal(int(secs * RATE))).astype(np.float32)


def test_short_recording_is_one_piece():
    samples = noise(20.0)
    ((start, piece),) = segments(samples, RATE, 20.0)
    assert start == 0.0
    assert len(piece) == len(samples)


def test_cut_falls_into_the_middle_of_the_pause():
    samples = np.concatenate([noise(14), noise(1, 0.001), noise(13)])
    (_, first), (start, _) = segments(samples, RATE, 20.0)
    assert start == pytest.approx(14.5, abs=0.15)
    assert len(first) == round(start * RATE)


def test_longest_of_several_silences_is_chosen():
    zeros = np.zeros
    samples = np.concatenate([noise(11), zeros(300), noise(2), zeros(1000), noise(2), zeros(300), noise(12)])
    assert segments(samples, RATE, 20.0)[1][0] == pytest.approx(13.8, abs=0.05)  # 11 + 0.3 + 2 + 0.5


def test_pause_in_the_first_half_of_the_limit_is_left_whole():
    samples = np.concatenate([noise(3), np.zeros(1000), noise(20)])
    assert segments(samples, RATE, 20.0)[1][0] >= 10.0


def test_last_piece_is_no_crumb():
    pieces = segments(noise(20.01), RATE, 20.0)
    assert min(len(piece) for _, piece in pieces) >= 5 * RATE


def test_digital_silence_is_cut_too():
    pieces = segments(np.zeros(65 * RATE, np.float32), RATE, 20.0)
    assert sum(len(piece) for _, piece in pieces) == 65 * RATE
    assert all(5 * RATE <= len(piece) <= 20 * RATE for _, piece in pieces)


def test_no_samples_is_one_empty_piece():
    ((start, piece),) = segments(np.zeros(0, np.float32), RATE)
    assert (start, len(piece)) == (0.0, 0)


@pytest.mark.parametrize('secs', [20.0, 24.9, 25.1, 70.0])
def test_cuts_do_not_depend_on_the_blocks(secs):
    samples = noise(secs)
    whole = segments(samples, RATE, 20.0, num_blocks=1)
    for num_blocks in (2, 7, 1000):
        for (start, piece), (expected_start, expected) in zip(
            segments(samples, RATE, 20.0, num_blocks=num_blocks), whole, strict=True
        ):
            assert start == expected_start
            np.testing.assert_array_equal(piece, expected)


def test_pieces_come_before_the_end_is_read():
    blocks = iter([noise(10)] * 4)
    next(cut_blocks(blocks, RATE, 20.0))
    assert len(list(blocks)) == 1


def test_limit_without_a_sample_is_refused():
    with pytest.raises(ValueError, match='hold no sound'):
        segments(np.zeros(10, np.float32), RATE, 0.0)


@given(st.integers(0, 3000), st.floats(0.004, 1.5), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_pieces_concatenate_to_the_input_within_the_limit(num_samples, longest_secs, seed):
    rng = np.random.default_rng(seed)
    samples = (rng.standard_normal(num_samples) * rng.integers(0, 2, num_samples)).astype(np.float32)
    pieces = segments(samples, RATE, longest_secs)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), samples)
    lengths = [len(piece) for _, piece in pieces]
    assert max(lengths) <= longest_secs * RATE
    assert [start for start, _ in pieces] == [sum(lengths[:number]) / RATE for number in range(len(lengths))]
    assert num_samples == 0 or min(lengths) > 0
