"""Walkers find what a corpus holds, and name what does not fit."""

import os

import pytest

from utils.data.corpora import librispeech, thchs30
from utils.errors import DataError


def fill(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)


def kinds(problems):
    return [(problem.kind, os.path.basename(problem.where)) for problem in problems]


def test_librispeech_is_read_in_order_and_in_its_case(tmp_path):
    path = fill(
        tmp_path,
        {
            'dev-clean/2/1/2-1-0000.wav': '',
            'dev-clean/2/1/2-1.trans.txt': "2-1-0000 IT'S  ME",
            'dev-clean/1/9/1-9-0001.flac': '',
            'dev-clean/1/9/1-9-0000.flac': '',
            'dev-clean/1/9/1-9.trans.txt': '1-9-0001 B\n\n1-9-0000 A\n',
            'dev-clean/1/9/._1-9-0000.flac': '',
            'SPEAKERS.TXT': '',
        },
    )
    recordings, problems = librispeech(path, 'dev-clean')
    assert not problems
    assert [each[0] for each in recordings] == ['1-9-0000', '1-9-0001', '2-1-0000']
    last = recordings[-1]
    assert (last.text, last.speaker, last.relative_path) == ("IT'S ME", '2', 'dev-clean/2/1/2-1-0000')
    assert last.audio_path == os.path.join(path, 'dev-clean/2/1/2-1-0000.wav')


def test_suffixes_may_be_in_capitals(tmp_path):
    path = fill(tmp_path, {'x/1/1/1-1-0000.FLAC': '', 'x/1/1/1-1.TRANS.TXT': '1-1-0000 A', 'x/1/1-1-0009.FLAC': ''})
    recordings, problems = librispeech(path, 'x')
    assert [each.utterance_id for each in recordings] == ['1-1-0000']
    assert kinds(problems) == [('audio outside of SPEAKER/CHAPTER', '1-1-0009.FLAC')]
    text = '一 二\nyi1 er4\ny i1\n'
    files = {'t/A_1.WAV': '', 't/A_1.WAV.trn': text, 't/B_1.wav': '', 't/B_1.wav.TRN': '../data/B_1.wav.TRN'}
    path = fill(tmp_path, {**files, 'data/B_1.wav.TRN': text, 't/C_1.WAV': '', 't/D_1.WAV.TRN': text})
    recordings, problems = thchs30(path, 't', 'char')
    assert [(each.utterance_id, each.text) for each in recordings] == [('A_1', '一二'), ('B_1', '一二')]
    assert kinds(problems) == [('audio without a transcript', 'C_1.WAV'), ('transcript without audio', 'D_1')]


def test_special_files_are_named_and_do_not_block(tmp_path):
    path = fill(tmp_path, {'x/1/1/1-1-0000.flac': '', 'x/1/1/1-1.trans.txt': '1-1-0000 A', 't/A_1.wav': ''})
    os.mkfifo(tmp_path / 'x/1/1/2.trans.txt')
    os.mkfifo(tmp_path / 't/A_1.wav.trn')
    assert kinds(librispeech(path, 'x')[1]) == [('not a regular file', '2.trans.txt')]
    assert kinds(thchs30(path, 't', 'char')[1])[0] == ('not a regular file', 'A_1.wav.trn')


def test_librispeech_names_what_does_not_fit(tmp_path):
    path = fill(
        tmp_path,
        {
            'x/1/1/1-1-0000.flac': '',
            'x/1/1/1-1-0001.flac': '',
            'x/1/1/1-1-0003.flac': '',
            'x/1/1/1-1-0004.flac': '',
            'x/1/1/1-1-0005.flac': '',
            'x/1/1-1-0009.flac': '',
            'x/1/1/1-1.trans.txt': b'1-1-0000 A\n1-1-0002 C\n1-1-0003\n1-1-0004 \xff\n1-1-0005 A\n1-1-0005 B\n',
        },
    )
    recordings, problems = librispeech(path, 'x')
    assert [each.utterance_id for each in recordings] == ['1-1-0000']
    unreadable = 'transcript that cannot be read'
    assert kinds(problems) == [
        ('audio outside of SPEAKER/CHAPTER', '1-1-0009.flac'),
        (unreadable, '1-1.trans.txt line 3 (1-1-0003)'),
        (unreadable, '1-1.trans.txt line 4 (1-1-0004)'),
        (unreadable, '1-1.trans.txt line 6 (1-1-0005)'),
        ('audio without a transcript', '1-1-0001.flac'),
        ('transcript without audio', '1-1-0002'),
    ]


def test_missing_and_empty_corpora_are_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'corpus/dev').mkdir(parents=True)
    for path, name, complaint in [
        ('nowhere', 'dev', 'nowhere: no such file .*; give the corpus directory that holds dev/'),
        ('empty', 'dev', r'empty: no dev/ in it \(it is empty\)'),
        ('corpus', 'test', r'corpus: no test/ in it \(there are dev\)'),
        ('corpus', 'dev', r'corpus/dev: no SPEAKER/CHAPTER/\*.flac in it'),
    ]:
        with pytest.raises(DataError, match=complaint):
            librispeech(str(tmp_path / path), name)


def test_directory_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = fill(tmp_path, {'x/1/1/1-1-0000.flac': '', 'x/1/1/1-1.trans.txt': '1-1-0000 A', 'x/2/1/2-1.trans.txt': ''})
    scandir = os.scandir

    def guarded(directory):
        if str(directory).endswith(('x/2', 'secret')):
            raise PermissionError(13, 'Permission denied', str(directory))
        return scandir(directory)

    monkeypatch.setattr(os, 'scandir', guarded)
    recordings, problems = librispeech(path, 'x')
    assert len(recordings) == 1
    assert problems[0].kind == 'directory that cannot be read'
    assert 'x/2: permission denied' in problems[0].where
    with pytest.raises(DataError, match='secret: permission denied'):
        librispeech(str(tmp_path / 'secret'), 'x')


TRN = '一九 二\nyi1 jiu3 er4\nii i1 j iu3 ee er4\n'


@pytest.mark.parametrize(
    ('unit', 'text'), [('char', '一九二'), ('pinyin', 'yi1 jiu3 er4'), ('phone', 'ii i1 j iu3 ee er4')]
)
def test_thchs30_transcripts_are_followed_to_their_three_lines(tmp_path, unit, text):
    path = fill(
        tmp_path,
        {
            'data/A2_1.wav.trn': TRN,
            'test/A2_1.wav': '',
            'test/A2_1.wav.trn': '../data/A2_1.wav.trn\n',
            'test/B8_2.wav': '',
            'test/B8_2.wav.trn': TRN,
        },
    )
    recordings, problems = thchs30(path, 'test', unit)
    assert not problems
    assert [(each.text, each.speaker, each.relative_path) for each in recordings] == [
        (text, 'A2', 'test/A2_1'),
        (text, 'B8', 'test/B8_2'),
    ]


def test_thchs30_names_what_does_not_fit(tmp_path):
    path = fill(
        tmp_path,
        {
            'test/A_1.wav': '',
            'test/A_1.wav.trn': '../data/A_1.wav.trn',
            'test/A_2.wav': '',
            'test/A_2.wav.trn': '一 二\n',
            'test/A_3.wav': '',
            'test/A_4.wav.trn': TRN,
            'test/A_5.wav': '',
            'test/A_5.wav.trn': b'\xff\xff',
            'test/A_6.wav': '',
            'test/A_6.wav.trn': 'A_6.wav.trn',
            'test/A_7.wav': '',
            'test/A_7.wav.trn': '一\nyi1\x1b[2J\nii i1\n',
        },
    )
    recordings, problems = thchs30(path, 'test', 'pinyin')
    assert recordings == []
    assert kinds(problems) == [
        ('transcript that cannot be read', 'A_1.wav.trn'),
        ('transcript that cannot be read', 'A_2.wav.trn'),
        ('audio without a transcript', 'A_3.wav'),
        ('transcript without audio', 'A_4'),
        ('transcript that cannot be read', 'A_5.wav.trn'),
        ('transcript that cannot be read', 'A_6.wav.trn'),
        ('transcript that cannot be read', 'A_7.wav.trn'),
    ]
    assert thchs30(path, 'test', 'char')[1][-1].detail == 'leads to A_6.wav.trn, which is not a transcript'


def test_thchs30_empty_first_line_is_not_replaced_by_the_second(tmp_path):
    path = fill(tmp_path, {'test/A_1.wav': '', 'test/A_1.wav.trn': '\n' + TRN.partition('\n')[2]})
    (recording,), _ = thchs30(path, 'test', 'pinyin')
    assert recording.text == 'yi1 jiu3 er4'
    recordings, problems = thchs30(path, 'test', 'char')
    assert recordings == [] and problems[0].detail == 'no line 1, which has the char transcript'


def test_names_that_an_index_cannot_hold_are_left_out_by_name(tmp_path):
    path = fill(tmp_path, {'x/1/1/1-1-0000.flac': '', 'x/1/1/1-1.trans.txt': '1-1-0000 A'})
    for name in (b'1-1-\xff.flac', b'1-1-\x1b[2J.flac', b'1-1-\n.flac'):
        (tmp_path / 'x/1/1' / os.fsdecode(name)).touch()
    recordings, problems = librispeech(path, 'x')
    assert [each.utterance_id for each in recordings] == ['1-1-0000']
    assert {problem.kind for problem in problems} == {'name with control characters or not in UTF-8'}
    assert len(problems) == 3


def test_thchs30_broken_link_to_audio_is_looked_up_in_data(tmp_path):
    path = fill(tmp_path, {'data/A_1.wav': '', 'data/A_1.wav.trn': TRN, 'test/A_1.wav.trn': '../data/A_1.wav.trn'})
    (tmp_path / 'test/A_1.wav').symlink_to('nowhere.wav')
    recordings, _ = thchs30(path, 'test', 'char')
    assert recordings[0].audio_path == os.path.join(path, 'data/A_1.wav')
