"""Transcription of audio files to texts with times, around a recogniser that only counts."""

import json
import os

import numpy as np
import pytest
import soundfile

from tests.oracles import EchoRecognizer
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError
from utils.recognition.transcribe import find_audio, transcribe


@pytest.fixture
def recognizer():
    return EchoRecognizer(Vocabulary.english(), 'hi yo')


def write_audio(path, secs, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(int(secs * rate)), rate)
    return str(path)


def test_files_are_found_below_directories_in_sorted_order(tmp_path):
    for name in ('d/b.wav', 'd/a/z.FLAC', 'd/c.mp3', 'd/notes.txt', 'd/._b.wav', 'one.bin'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, problems = find_audio([str(tmp_path / 'one.bin'), str(tmp_path / 'd')])
    assert files == [str(tmp_path / name) for name in ('one.bin', 'd/b.wav', 'd/c.mp3', 'd/a/z.FLAC')]
    assert problems == []


def test_what_is_left_out_of_a_directory_is_counted(tmp_path, caplog):
    for name in ('d/a.SPH', 'd/b.m4a', 'd/e/c.M4A', 'd/notes.txt', 'else/f.wav'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'd/link').symlink_to(tmp_path / 'else')
    (tmp_path / 'd/f.wav').symlink_to(tmp_path / 'else/f.wav')
    os.mkfifo(tmp_path / 'd/g.wav')
    files, problems = find_audio([str(tmp_path / 'd')])
    assert files == [str(tmp_path / 'd/a.SPH'), str(tmp_path / 'd/f.wav')]
    assert problems == []
    (line,) = caplog.messages
    counts = 'links to directories: 1, .m4a files that cannot be read: 2, special files: 1'
    assert line == f'{tmp_path}/d: left out: {counts}'


def test_missing_file_and_directory_without_audio_are_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    files, problems = find_audio([str(tmp_path / 'none.wav'), str(tmp_path / 'empty')])
    assert files == []
    assert [problem.split(': ')[0] for problem in problems] == [str(tmp_path / 'none.wav'), str(tmp_path / 'empty')]
    assert 'no such file' in problems[0]
    assert 'no audio' in problems[1]


def test_words_have_times_and_confidence(tmp_path, recognizer):
    path = write_audio(tmp_path / 'a.wav', 1.0)
    (transcript,) = transcribe([path], recognizer, 4)
    assert transcript.to_json() == {
        'file': path,
        'text': 'hi yo',
        'duration': 1.0,
        'confidence': 0.5,
        'words': [
            {'word': 'hi', 'start': 0.02, 'end': 0.06, 'confidence': 0.5},
            {'word': 'yo', 'start': 0.08, 'end': 0.12, 'confidence': 0.5},
        ],
    }
    json.dumps(transcript.to_json(), allow_nan=False)


def test_pieces_of_a_long_recording_are_joined_with_times_of_the_whole(tmp_path, recognizer):
    (transcript,) = transcribe([write_audio(tmp_path / 'a.wav', 5.0)], recognizer, 4, longest_secs=2.0)
    num_pieces = len(recognizer.rounds[0])
    assert num_pieces >= 3
    assert max(recognizer.rounds[0]) <= 200
    assert transcript.text == ' '.join(['hi yo'] * num_pieces)
    starts = [word.start for word in transcript.words]
    assert starts == sorted(starts)
    assert starts[2] > 1.0
    assert transcript.duration == 5.0


def test_chinese_characters_are_joined_without_spaces_and_syllables_with(tmp_path):
    path = write_audio(tmp_path / 'a.wav', 5.0)
    characters = EchoRecognizer(Vocabulary(['你', '好']), '你好')
    syllables = EchoRecognizer(Vocabulary(['hao3', 'ni3']), 'ni3 hao3')
    (by_character,) = transcribe([path], characters, 4, longest_secs=3.0)
    (by_syllable,) = transcribe([path], syllables, 4, longest_secs=3.0)
    assert by_character.text == '你好你好'
    assert by_syllable.text == 'ni3 hao3 ni3 hao3'
    assert [word.word for word in by_character.words] == ['你', '好', '你', '好']


def test_nothing_heard_has_no_confidence(tmp_path):
    (transcript,) = transcribe([write_audio(tmp_path / 'a.wav', 1.0)], EchoRecognizer(Vocabulary.english(), ''), 4)
    assert (transcript.text, transcript.confidence, transcript.words) == ('', None, ())


def test_times_stay_within_the_recording(tmp_path, recognizer):
    (transcript,) = transcribe([write_audio(tmp_path / 'a.wav', 0.05)], recognizer, 4)
    assert max(word.end for word in transcript.words) == 0.05


def test_unreadable_file_is_answered_in_its_place(tmp_path, recognizer):
    bad = tmp_path / 'bad.wav'
    bad.write_bytes(b'RIFF but no more')
    short = write_audio(tmp_path / 'short.wav', 0.005)
    good = write_audio(tmp_path / 'good.wav', 1.0)
    first, second, third, fourth = transcribe([str(bad), good, short, good], recognizer, 4)
    assert isinstance(first, DataError)
    assert str(bad) in str(first)
    assert isinstance(third, DataError)
    assert short in str(third)
    assert second == fourth
    assert second.text == 'hi yo'


def test_many_files_are_answered_round_by_round(tmp_path, recognizer):
    path = write_audio(tmp_path / 'a.wav', 0.1)
    answers = transcribe([path] * 20, recognizer, 1)
    next(answers)
    assert [len(pieces) for pieces in recognizer.rounds] == [8]
    assert len(list(answers)) == 19
    assert [len(pieces) for pieces in recognizer.rounds] == [8, 8, 4]


def test_a_long_recording_is_recognised_in_rounds_of_bounded_size(tmp_path, recognizer):
    short, long = write_audio(tmp_path / 'a.wav', 1.0), write_audio(tmp_path / 'b.flac', 60.0)
    first, second, third = transcribe([short, long, short], recognizer, 2, longest_secs=1.5)
    assert max(map(len, recognizer.rounds)) == 16
    assert (first.text, third.duration) == ('hi yo', 1.0)
    num_pieces = sum(map(len, recognizer.rounds)) - 2
    assert second.duration == 60.0
    assert second.text == ' '.join(['hi yo'] * num_pieces)
    assert [word.start for word in second.words] == sorted(word.start for word in second.words)
    assert second.confidence == pytest.approx(0.5)


def test_damage_at_the_end_of_a_long_recording_is_its_answer(tmp_path, recognizer):
    path = write_audio(tmp_path / 'a.flac', 30.0)
    (tmp_path / 'a.flac').write_bytes((tmp_path / 'a.flac').read_bytes()[:-3000])
    good = write_audio(tmp_path / 'b.wav', 1.0)
    damaged, whole = transcribe([path, good], recognizer, 1, longest_secs=2.0)
    assert isinstance(damaged, DataError) and path in str(damaged)
    assert whole.text == 'hi yo'


def test_suspicious_recordings_are_named_in_the_log(tmp_path, recognizer, caplog):
    soundfile.write(tmp_path / 'a.wav', np.zeros(16000), 16000)
    list(transcribe([str(tmp_path / 'a.wav')], recognizer, 1))
    assert caplog.messages == [f'{tmp_path}/a.wav: 100% of its samples are exactly 0']


def test_any_sampling_rate_is_heard(tmp_path, recognizer):
    (transcript,) = transcribe([write_audio(tmp_path / 'a.flac', 1.0, rate=44100)], recognizer, 4)
    assert transcript.duration == pytest.approx(1.0, abs=1e-3)
