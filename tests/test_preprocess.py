"""Preprocessing commands: a corpus directory becomes features and an index."""

import json
import os

import numpy as np
import pytest
import soundfile

import libri_preprocess
import thchs_preprocess
from utils.data.index import read_index
from utils.data.preprocess_flags import PreprocessParser
from utils.data.split import parse_ratio, split_speakers
from utils.errors import DataError, UsageError, run_main


def make_corpus(root, speakers='123', utterances=2):
    rng = np.random.default_rng(0)
    for speaker in speakers:
        folder = root / 'corpus' / 'dev-clean' / speaker / '7'
        folder.mkdir(parents=True)
        for number in range(utterances):
            samples = rng.uniform(-0.5, 0.5, 3200 + 160 * number)
            soundfile.write(folder / f'{speaker}-7-{number:04d}.flac', samples, 16000)
        lines = [f'{speaker}-7-{number:04d} AB C\n' for number in range(utterances)]
        (folder / f'{speaker}-7.trans.txt').write_text(''.join(lines))
    return root / 'corpus'


def libri(root, *flags, index='i.json'):
    arguments = [*flags, '--jobs', '1', '-n', 'dev-clean', *map(str, (root / 'corpus', root / 'feat', root / index))]
    return run_main(lambda: libri_preprocess.main(arguments))


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def test_features_labels_and_index_are_what_the_contract_says(tmp_path, capsys):
    corpus = contents(make_corpus(tmp_path))
    assert libri(tmp_path) == 0
    lines = [json.loads(line) for line in (tmp_path / 'i.json').read_text().splitlines()]
    assert lines[0] == {
        'key': 'feat/fbank-40-0.02-0.01/dev-clean/1/7/1-7-0000.npz',
        'duration': 0.2,
        'texts': 'ab c',
        'frames': 19,
        'features': 'fbank-40-0.02-0.01',
        'speaker': '1',
        'audio': 'corpus/dev-clean/1/7/1-7-0000.flac',
    }
    with np.load(tmp_path / lines[0]['key']) as arrays:
        assert sorted(arrays) == ['features', 'label']
        assert arrays['features'].shape == (19, 40)
        assert arrays['features'].dtype == np.float32
        assert arrays['label'].tolist() == [1, 2, 0, 3]
        assert arrays['label'].dtype == np.int32
    assert len(read_index([str(tmp_path / 'i.json')])) == 6
    assert '6 utterances of 3 speakers' in capsys.readouterr().out
    assert contents(tmp_path / 'corpus') == corpus


def test_running_again_does_only_what_is_missing_or_stale(tmp_path, capsys):
    make_corpus(tmp_path)
    assert libri(tmp_path) == 0
    before = contents(tmp_path)
    folder = tmp_path / 'feat/fbank-40-0.02-0.01/dev-clean'
    (folder / '1/7/1-7-0000.npz').unlink()
    (folder / '2/7/2-7-0000.npz').write_bytes(b'half')
    (folder / '2/7/.2-7-0001.npz.4194305.tmp').write_bytes(b'half')
    os.utime(tmp_path / 'corpus/dev-clean/3/7/3-7-0001.flac', (4e9, 4e9))
    capsys.readouterr()
    assert libri(tmp_path) == 0
    assert 'features: 3 made, 3 there already' in capsys.readouterr().out
    after = contents(tmp_path)
    assert after.pop('i.json.bak') == before['i.json']
    assert after == before


def test_faults_are_left_out_named_and_counted(tmp_path, capsys):
    corpus = make_corpus(tmp_path, '1', 6)
    folder = corpus / 'dev-clean/1/7'
    (folder / '1-7-0001.flac').write_bytes(b'')
    soundfile.write(folder / '1-7-0002.flac', np.zeros(100), 16000)
    (folder / '1-7-0003.flac').unlink()
    transcripts = (folder / '1-7.trans.txt').read_text().splitlines()
    transcripts[4] = '1-7-0004 CAFÉ'
    (folder / '1-7.trans.txt').write_text('\n'.join(transcripts[:5]), encoding='utf-8')
    assert libri(tmp_path) == 1
    out, err = capsys.readouterr()
    assert [line.split(': ')[1] for line in err.splitlines() if line.startswith('left out')] == [
        'transcript without audio',
        'audio without a transcript',
        'transcript outside the vocabulary',
        'audio that cannot be read',
        'audio too short',
    ]
    for number in range(1, 6):
        assert f'1-7-000{number}' in err
    assert err.splitlines()[-1].startswith('error: 5 left out')
    assert 'left out: 5;' in out
    assert len(read_index([str(tmp_path / 'i.json')])) == 1


def test_another_alphabet_is_built_from_one_set_and_used_for_the_next(tmp_path, capsys):
    folder = make_corpus(tmp_path, '1', 4) / 'dev-clean/1/7'
    texts = ['Ёж, ёж', 'же же', 'же-ё', 'жё Щ']
    lines = [f'1-7-{number:04d} {text}\n' for number, text in enumerate(texts)]
    (folder / '1-7.trans.txt').write_text(''.join(lines), encoding='utf-8')
    vocabulary = tmp_path / 'new' / 'vocab.txt'
    assert libri(tmp_path, '--make_vocab', str(vocabulary), '--min_count', '2', '--punctuation', 'drop') == 1
    assert vocabulary.read_text(encoding='utf-8') == '<SPACE> 0\nе 1\nж 2\nё 3\n'
    index = read_index([str(tmp_path / 'i.json')])
    assert list(index.texts) == ['ёж ёж', 'же же', 'же ё']
    with np.load(tmp_path / 'feat/fbank-40-0.02-0.01/dev-clean/1/7/1-7-0000.npz') as arrays:
        assert arrays['label'].tolist() == [3, 2, 0, 3, 2]
    out, err = capsys.readouterr()
    assert f"left out: transcript outside the vocabulary: 1-7-0003: 'щ' not in {vocabulary}" in err
    assert 'odd: fewer than 5 times: ё 4 (1-7-0000), е 3 (1-7-0001), щ 1 (1-7-0003)' in out
    given = ['-v', str(vocabulary), '--case', 'keep']
    assert libri(tmp_path, *given, '--unknown', 'keep') == 0
    assert list(read_index([str(tmp_path / 'i.json')]).texts) == texts
    with np.load(tmp_path / 'feat/fbank-40-0.02-0.01/dev-clean/1/7/1-7-0003.npz') as arrays:
        assert arrays['label'].tolist() == [2, 3, 0, -1]
    assert libri(tmp_path, *given, '--make_vocab', str(vocabulary)) == 2
    assert libri(tmp_path, '--make_vocab', str(tmp_path / 'i.json')) == 1
    assert libri(tmp_path, '--make_vocab', str(tmp_path)) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert 'give one of them' in errors[0] and 'another name' in errors[1] and 'is a directory' in errors[2]


def test_suspicious_recordings_are_named_and_stay(tmp_path, capsys):
    corpus = make_corpus(tmp_path, '1', 2)
    soundfile.write(corpus / 'dev-clean/1/7/1-7-0001.flac', np.zeros(3200), 16000)
    assert libri(tmp_path) == 0
    err = capsys.readouterr().err
    assert 'warning: suspicious recording: 1-7-0001: 100% of its samples are exactly 0' in err.splitlines()
    assert len(read_index([str(tmp_path / 'i.json')])) == 2


def test_nothing_left_writes_no_index(tmp_path, capsys):
    corpus = make_corpus(tmp_path, '1', 1)
    (corpus / 'dev-clean/1/7/1-7-0000.flac').write_bytes(b'x')
    assert libri(tmp_path) == 1
    assert 'no utterance is left' in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'i.json').exists()


def test_split_keeps_speakers_apart(tmp_path):
    make_corpus(tmp_path)
    assert libri(tmp_path, '-s', '8:1:1') == 0
    speakers = []
    for part in ('train', 'dev', 'test'):
        lines = (tmp_path / f'i.{part}.json').read_text().splitlines()
        speakers.append({json.loads(line)['speaker'] for line in lines})
    assert sorted(map(sorted, speakers)) == [['1'], ['2'], ['3']]
    assert not (tmp_path / 'i.json').exists()


def test_split_needs_a_speaker_for_each_part(tmp_path, capsys):
    make_corpus(tmp_path, '12')
    assert libri(tmp_path, '-s', '8:1:1') == 1
    assert 'needs 3 speakers, but there are 2' in capsys.readouterr().err
    assert not (tmp_path / 'feat').exists()


def test_split_comes_near_the_ratio():
    duration_of = {f's{number}': 100.0 + number for number in range(50)}
    parts = split_speakers(duration_of, parse_ratio('8:1:1'))
    total = sum(duration_of.values())
    shares = [sum(duration_of[speaker] for speaker in speakers) / total for speakers in parts.values()]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    assert sorted(sum(parts.values(), [])) == sorted(duration_of)
    assert list(split_speakers(duration_of, parse_ratio('9:1:0'))) == ['train', 'dev']
    with pytest.raises(DataError, match='-s/--split'):
        split_speakers({'a': 1.0, 'b': 1.0}, parse_ratio('1:1:1'))


@pytest.mark.parametrize('flags', [['-f', '13'], ['-m', 'log', '-f', '40'], ['-m', 'log', '-wl', '0.025']])
def test_flags_that_do_not_go_together_stop_before_any_work(flags):
    with pytest.raises(UsageError, match='-m'):
        libri_preprocess.main([*flags, 'corpus', 'feat', 'i.json'])


BAD_VALUES = '-s 8:1 -s 1:x:1 -s 0:0:0 -s 1e308:1e308:1 -n dev --jobs 0 --jobs 9999 -wl nan -ws inf -ws x -f x'.split()


@pytest.mark.parametrize('flags', [*zip(BAD_VALUES[::2], BAD_VALUES[1::2], strict=True)], ids=' '.join)
def test_bad_values_are_one_line_and_status_2(flags, capsys):
    with pytest.raises(SystemExit) as caught:
        libri_preprocess.main([*flags, 'corpus', 'feat', 'i.json'])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f'error: argument {flags[0]}')


@pytest.mark.parametrize(
    ('arguments', 'names'),
    [
        (['-n', 'a', 'b', 'p', 's', 'j'], ['a', 'b']),
        (['-n', 'a', '-n', 'b', 'p', 's', 'j'], ['a', 'b']),
        (['-n', 'a,b', 'p', 's', 'j'], ['a', 'b']),
        (['--name=a', 'b', 'p', 's', 'j'], ['a', 'b']),
        (['p', 's', 'j', '-n', 'b', 'a', 'b'], ['b', 'a']),
        (['-n', 'a', '-m', 'log', 'p', 's', 'j'], ['a']),
        (['-n', 'a', '--', 'p', 's', 'j'], ['a']),
        (['p', 's', 'j'], ['b']),
    ],
)
def test_name_takes_one_or_several_before_the_positionals(arguments, names):
    parsed = PreprocessParser(['a', 'b'], 'b', 'corpus').parse_args(arguments)
    assert (parsed.name, parsed.path, parsed.save, parsed.jsonfile) == (names, 'p', 's', 'j')


def thchs(root, *flags, index='t.json'):
    arguments = [*flags, '--jobs', '1', *map(str, (root / 'thchs', root / 'feat', root / index))]
    return run_main(lambda: thchs_preprocess.main(arguments))


def test_thchs_writes_the_vocabulary_of_its_unit(tmp_path, capsys):
    (tmp_path / 'thchs/test').mkdir(parents=True)
    for name, text in (('A1_1', '二 一一\ner4 yi1 yi1\n'), ('B2_1', '三\nsan1\n')):
        soundfile.write(tmp_path / f'thchs/test/{name}.wav', np.full(4000, 0.1), 16000)
        (tmp_path / f'thchs/test/{name}.wav.trn').write_text(text, encoding='utf-8')
    assert thchs(tmp_path) == 0
    assert (tmp_path / 't.vocab.txt').read_text(encoding='utf-8') == '一 0\n三 1\n二 2\n'
    assert thchs(tmp_path, '--unit', 'pinyin', index='p.json') == 0
    assert (tmp_path / 'p.vocab.txt').read_text() == 'er4 0\nsan1 1\nyi1 2\n'
    index = read_index([str(tmp_path / 'p.json')])
    assert index.texts == ['er4 yi1 yi1', 'san1']
    with np.load(index.keys[0]) as arrays:
        assert arrays['label'].tolist() == [0, 2, 2]
    (tmp_path / 'v.txt').write_text('一 0\n二 1\n', encoding='utf-8')
    capsys.readouterr()
    assert thchs(tmp_path, '--vocabfile', str(tmp_path / 'v.txt'), index='v.json') == 0
    assert f'1 transcripts have units outside {tmp_path}/v.txt' in capsys.readouterr().out
    index = read_index([str(tmp_path / 'v.json')])
    assert index.texts == ['二一一', '三']
    with np.load(index.keys[1]) as arrays:
        assert arrays['label'].tolist() == [-1]
    assert not (tmp_path / 'v.vocab.txt').exists()
    (tmp_path / 'thchs/test').rename(tmp_path / 'thchs/train')
    assert thchs(tmp_path, '-n', 'train', '--vocabfile', str(tmp_path / 'v.txt'), index='v.json') == 1
    assert "B2_1: '三' not in" in capsys.readouterr().err
    assert read_index([str(tmp_path / 'v.json')]).texts == ['二一一']
