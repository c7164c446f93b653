"""Utterances cut from an aligned recording, and their manifest."""

import json

import numpy as np
import pytest
import soundfile

from utils.data.manifests import read_manifest
from utils.decode.hypothesis import Word
from utils.errors import DataError
from utils.recognition.alignment import Aligned
from utils.recognition.cutting import find_cuts, write_cuts


def random_words(seed, count=300):
    rng, time, words = np.random.default_rng(seed), 1.0, []
    for number in range(count):
        start = time + rng.choice([0.05, 0.3, 2.0])
        time = start + rng.uniform(0.1, 0.8)
        words.append(Word(f'w{number}', start, time, 0.9))
    return words, time + 3


def test_recording_shorter_than_the_limit_is_one_utterance_with_margins():
    words = [Word('a', 2.0, 2.5, 0.9), Word('b', 3.0, 3.5, 0.9)]
    (cut,) = find_cuts(words, 9.0, 10.0)
    assert cut == (24000, 64000, tuple(words))  # 1.5 s to 4 s


def test_cut_is_in_the_middle_of_the_widest_pause():
    words = [Word('a', 0.5, 1.0, 0.9), Word('b', 1.1, 2.0, 0.9), Word('c', 2.6, 3.0, 0.9), Word('d', 3.1, 3.5, 0.9)]
    first, second = find_cuts(words, 4.0, 2.5)
    assert (first.end, second.start) == (36800, 36800)  # 2.3 s
    assert [word.word for word in first.words] == ['a', 'b']


@pytest.mark.parametrize('seed', [1, 2])
def test_utterances_are_disjoint_within_the_limit_and_keep_all_words(seed):
    words, duration = random_words(seed)
    cuts = find_cuts(words, duration, 12.0)
    assert [word for cut in cuts for word in cut.words] == words
    assert all(0 < cut.end - cut.start <= 12 * 16000 + 1 for cut in cuts)
    assert all(cut.end <= following.start for cut, following in zip(cuts, cuts[1:], strict=False))
    for cut in cuts:
        assert cut.start / 16000 <= cut.words[0].start
        assert cut.end / 16000 >= cut.words[-1].end
    assert len(cuts) < duration / 4


def test_no_words_give_no_utterances():
    assert find_cuts([], 5.0, 10.0) == []


def test_manifest_is_read_by_the_preprocessing_and_samples_are_those_of_the_recording(tmp_path):
    words, duration = random_words(3, 150)
    samples = (np.random.default_rng(3).uniform(-0.5, 0.5, int(duration * 16000)) * 32767).astype(np.int16)
    soundfile.write(tmp_path / 'talk.wav', samples, 16000)
    aligned = Aligned('talk.wav', '', duration, 0.9, tuple(words))
    path = write_cuts(str(tmp_path / 'talk.wav'), aligned, str(tmp_path / 'out'), 10.0, ' ')
    recordings, problems, _ = read_manifest(str(path))
    assert problems == []
    assert ' '.join(each.text for each in recordings) == ' '.join(word.word for word in words)
    cuts = find_cuts(words, duration, 10.0)
    assert len(recordings) == len(cuts) > 10
    for recording, cut in zip(recordings, cuts, strict=True):
        written, rate = soundfile.read(recording.audio_path, dtype='int16')
        assert rate == 16000
        assert np.array_equal(written, samples[cut.start : cut.end])


def test_word_longer_than_the_limit_is_left_out_and_named(tmp_path, caplog):
    soundfile.write(tmp_path / 'a.wav', np.zeros(16000 * 30), 16000)
    words = (Word('hm', 1.0, 21.0, 0.1), Word('yes', 25.0, 25.5, 0.9))
    path = write_cuts(str(tmp_path / 'a.wav'), Aligned('a.wav', '', 30.0, 0.9, words), str(tmp_path), 10.0, ' ')
    assert [json.loads(line)['text'] for line in path.read_text().splitlines()] == ['yes']
    assert any("'hm' at 0.50 s takes" in message for message in caplog.messages)
    with pytest.raises(DataError, match='no word is shorter'):
        write_cuts(str(tmp_path / 'a.wav'), Aligned('a.wav', '', 30.0, 0.9, words[:1]), str(tmp_path), 10.0, ' ')
