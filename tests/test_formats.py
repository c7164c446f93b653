"""Transcripts as subtitles, CTM and TextGrids, read back by public parsers."""

import html
import json

import numpy as np
import pysrt
import pytest
import soundfile
import webvtt
from praatio import textgrid

from tests.oracles import EchoRecognizer
from utils.data.vocabulary import Vocabulary
from utils.decode.hypothesis import Word
from utils.errors import UsageError
from utils.recognition.formats import TranscriptWriter, make_cues, render, separate, to_ctm, to_srt, to_textgrid, to_vtt
from utils.recognition.transcribe import Transcript, transcribe


def words_of(text, secs_per_word=0.3, start=0.0, separator=' '):
    units = text.split(separator) if separator else list(text)
    return [Word(unit, start + i * secs_per_word, start + i * secs_per_word + 0.2, 0.5) for i, unit in enumerate(units)]


def transcript_of(words, duration, file='dir/a.wav'):
    return Transcript(file, ' '.join(word.word for word in words), duration, 0.5, tuple(words))


def random_words(seed, count=400):
    """Words of 1 to 12 letters with gaps up to 1.2 s, some of them without duration."""
    rng = np.random.default_rng(seed)
    words, time = [], 0.0
    for _ in range(count):
        start = time + rng.choice([0.0, 0.1, 0.3, 1.2])
        time = start + rng.choice([0.0, 0.02, 0.5])
        words.append(Word('abcdefghijkl'[: rng.integers(1, 13)], start, time, 0.9))
    return words, time


def read_vtt(text):
    def parse(clock):  # the parser's own seconds are whole
        hours, minutes, secs = clock.split(':')
        return round(1000 * (3600 * int(hours) + 60 * int(minutes) + float(secs)))

    captions = webvtt.from_string(text).captions
    return [(parse(each.start), parse(each.end), html.unescape(each.text)) for each in captions]


def read_srt(text):
    return [(each.start.ordinal, each.end.ordinal, each.text) for each in pysrt.from_string(text)]


def read_textgrid(tmp_path, text):
    path = tmp_path / 'a.TextGrid'
    path.write_text(text, encoding='utf-8')
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode='error')
    return grid, {name: grid.getTier(name).entries for name in grid.tierNames}


def test_short_text_is_one_subtitle_of_one_line():
    (cue,) = make_cues(words_of('hello world', start=2.0), 10000)
    assert cue == (2000, 3000, ('hello world',))  # from 2.5 s on only to be readable


def test_pause_starts_a_new_subtitle():
    words = [*words_of('one two'), *words_of('three four', start=1.2)]
    assert make_cues(words, 5000) == [(0, 1000, ('one two',)), (1200, 2200, ('three four',))]


def test_long_line_is_broken_into_two_of_similar_length():
    (cue,) = make_cues(words_of('the quick brown fox jumps over the lazy dog again', 0.2), 9000)
    assert cue.lines == ('the quick brown fox jumps', 'over the lazy dog again')


def test_text_that_is_too_long_is_cut_at_its_widest_gap_near_the_middle():
    words = words_of('abcdefgh ' * 9 + 'abcdefgh', 0.2)
    later = [Word(word.word, word.start + 0.3, word.end + 0.3, 0.5) for word in words[6:]]
    assert [len(' '.join(cue.lines).split()) for cue in make_cues([*words[:6], *later], 9000)] == [6, 4]


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_subtitles_keep_all_words_and_the_limits(seed):
    words, end = random_words(seed)
    cues = make_cues(words, round(1000 * end))
    assert ' '.join(line for cue in cues for line in cue.lines) == ' '.join(word.word for word in words)
    assert all(len(cue.lines) <= 2 and max(map(len, cue.lines)) <= 42 for cue in cues)
    assert all(0 < cue.end - cue.start <= 7000 for cue in cues)
    assert all(cue.end <= following.start for cue, following in zip(cues, cues[1:], strict=False))
    srt = read_srt(to_srt(cues))
    assert srt == [(cue.start, cue.end, '\n'.join(cue.lines)) for cue in cues]
    assert read_vtt(to_vtt(cues)) == srt


def test_word_longer_than_a_line_is_a_subtitle_of_its_own():
    cues = make_cues(words_of(f'a {"b" * 100} c'), 9000)
    assert [cue.lines for cue in cues] == [('a',), ('b' * 100,), ('c',)]


def test_chinese_characters_take_two_columns_each():
    cues = make_cues(words_of('你好' * 30, 0.1, separator=''), 9000, '')
    assert ''.join(line for cue in cues for line in cue.lines) == '你好' * 30
    assert max(len(line) for cue in cues for line in cue.lines) <= 21


def test_hours_are_in_the_times():
    cues = make_cues(words_of('late', start=100 * 3600 + 61.5), 400_000_000)
    assert '100:01:01,500 --> 100:01:02,500' in to_srt(cues)
    assert '100:01:01.500 --> 100:01:02.500' in to_vtt(cues)
    assert read_srt(to_srt(cues))[0][0] == 360_061_500


def test_texts_cannot_break_the_syntax_of_webvtt(tmp_path):
    words = words_of('--> <b> a&b &lt;')
    text = to_vtt(make_cues(words, 9000))
    assert text.count('-->') == 1
    assert '<b>' not in text
    (cue,) = webvtt.from_string(text).captions
    assert html.unescape(cue.raw_text) == '--> <b> a&b &lt;'


@pytest.mark.parametrize('kind', ['srt', 'vtt', 'ctm', 'textgrid', 'text'])
def test_empty_transcript_has_no_words_in_any_format(kind, tmp_path):
    text = render(kind, transcript_of([], 1.5))
    if kind == 'srt':
        assert read_srt(text) == []
    elif kind == 'vtt':
        assert read_vtt(text) == []
    elif kind == 'textgrid':
        assert list(map(tuple, read_textgrid(tmp_path, text)[1]['words'])) == [(0.0, 1.5, '')]
    else:
        assert text.split() == []


def test_ctm_has_recording_channel_start_duration_word_and_confidence():
    text = to_ctm('my talk', [Word('hi', 1.0, 1.25, 0.875), Word('yo', 3600.5, 3600.5, 1.0)])
    assert text == 'my_talk 1 1.000 0.250 hi 0.8750\nmy_talk 1 3600.500 0.000 yo 1.0000\n'


@pytest.mark.parametrize('seed', [4, 5])
def test_textgrid_covers_the_recording_without_gaps_or_overlaps(seed, tmp_path):
    words, end = random_words(seed)
    grid, tiers = read_textgrid(tmp_path, to_textgrid({'words': words, 'symbols': words[:7]}, round(1000 * end) + 250))
    assert grid.maxTimestamp == pytest.approx(end + 0.25)
    assert [each.label for each in tiers['words'] if each.label] == [word.word for word in words]
    for entries in tiers.values():
        assert entries[0].start == 0
        assert entries[-1].end == grid.maxTimestamp
        assert all(each.end == following.start for each, following in zip(entries, entries[1:], strict=False))
        assert all(each.start < each.end for each in entries)


def test_quotes_are_doubled_in_a_textgrid(tmp_path):
    text = to_textgrid({'words': words_of('say "hi" "')}, 2000)
    assert '"say"' in text
    assert '"""hi"""' in text
    labels = [each.label for each in read_textgrid(tmp_path, text)[1]['words'] if each.label]
    assert [label.replace('""', '"') for label in labels] == ['say', '"hi"', '"']


def test_words_without_duration_at_the_end_are_moved_to_before_it():
    assert separate([(0, 5), (10, 10), (10, 10)], 10) == [(0, 5), (8, 9), (9, 10)]


def test_words_that_overlap_end_where_the_next_one_starts():
    assert separate([(0, 8), (5, 9)], 20) == [(0, 5), (5, 9)]


def test_pieces_of_a_long_recording_give_monotone_times_in_every_format(tmp_path):
    path = tmp_path / 'long.wav'
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(16000 * 9), 16000)
    (found,) = transcribe([str(path)], EchoRecognizer(Vocabulary.english(), 'hi yo'), 4, longest_secs=2.0)
    srt = read_srt(render('srt', found))
    assert len(srt) >= 5
    assert ' '.join(text for *_, text in srt) == found.text
    assert all(one[1] <= other[0] for one, other in zip(srt, srt[1:], strict=False))
    _, tiers = read_textgrid(tmp_path, render('textgrid', found))
    assert [each.label for each in tiers['words'] if each.label] == found.text.split()
    assert ''.join(each.label for each in tiers['symbols']) == found.text.replace(' ', '')
    starts = [float(line.split()[2]) for line in render('ctm', found).splitlines()]
    assert starts == sorted(starts)
    assert starts[-1] > 5


def test_files_with_the_same_stem_get_numbers_and_recordings_are_kept(tmp_path):
    recording = tmp_path / 'b.srt'
    recording.write_text('a recording, whatever its name')
    files = ['one/a.wav', 'two/a.flac', str(recording)]
    writer = TranscriptWriter('srt', str(tmp_path), files)
    for file in files:
        writer.write(transcript_of(words_of('x'), 1.0, file))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a-2.srt', 'a.srt', 'b-2.srt', 'b.srt']
    assert recording.read_text() == 'a recording, whatever its name'


def test_name_that_is_not_utf8_can_be_written_as_json(tmp_path):
    TranscriptWriter('json', str(tmp_path), ['\udcff.wav']).write(transcript_of([], 1.0, '\udcff.wav'))
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_bytes().decode('utf-8', 'surrogateescape'))['file'] == '\udcff.wav'


@pytest.mark.parametrize('kind', ['srt', 'vtt', 'textgrid'])
def test_several_recordings_on_stdout_are_refused_where_the_format_holds_one(kind):
    with pytest.raises(UsageError, match='--out'):
        TranscriptWriter(kind, None, ['a.wav', 'b.wav'])
