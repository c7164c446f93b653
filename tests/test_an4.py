"""AN4's conversion: numbers of speakers, the split, order of utterances, samples, and what is incomplete."""

import numpy as np
import pytest
import soundfile

from utils.data.an4 import Subset, convert
from utils.errors import DataError


def write_an4(root, utterances, part='train', folder='an4_clstk', suffix='.raw'):
    """Writes (speaker, name, text) with the samples 1, -2, 300 each."""
    (root / 'etc').mkdir(parents=True, exist_ok=True)
    ids = [f'{folder}/{speaker}/{name}-{speaker}-b' for speaker, name, _ in utterances]
    (root / f'etc/an4_{part}.fileids').write_text('\n'.join(ids) + '\n')
    lines = [f'{text} ({name}-{speaker}-b)\n' for speaker, name, text in utterances]
    (root / f'etc/an4_{part}.transcription').write_text(''.join(lines))
    for each in ids:
        path = root / 'wav' / f'{each}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == '.raw':
            path.write_bytes(np.array([1, -2, 300], '>i2').tobytes())
        else:
            soundfile.write(path, np.array([1, -2, 300], np.int16), 16000, format='NIST', subtype='PCM_16')


TRAIN = [(f's{i:02}', 'an1', 'YES') for i in range(11)] + [('fash', 'an2', '<s> GO </s>'), ('fash', 'an10', 'u m  n')]


@pytest.fixture
def an4(tmp_path):
    write_an4(tmp_path / 'an4', TRAIN)
    write_an4(tmp_path / 'an4', [('menk', 'cen1', 'HELP')], 'test', 'an4test_clstk', '.sph')
    (tmp_path / 'an4/LICENSE').write_text('free')
    return tmp_path / 'an4'


def test_speakers_are_numbered_in_alphabetical_order_and_the_last_ten_are_dev(an4, tmp_path):
    train, dev, test = convert(str(an4), str(tmp_path / 'out'))
    assert (train[:3], dev[:3]) == (('train-clean-100', 2, 3), ('dev-clean', 10, 10))
    assert test == Subset('test-clean', 1, 1, 3 / 16000)
    numbers = {folder.name: sorted(int(p.name) for p in folder.iterdir()) for folder in (tmp_path / 'out').glob('*-*')}
    assert numbers == {'train-clean-100': [1000, 1001], 'dev-clean': [*range(1002, 1012)], 'test-clean': [1012]}
    assert (tmp_path / 'out/LICENSE').read_text() == 'free'


def test_utterances_are_in_alphabetical_order_of_their_names(an4, tmp_path):
    convert(str(an4), str(tmp_path / 'out'))
    chapter = tmp_path / 'out/train-clean-100/1000/1'  # an10 before an2
    assert (chapter / '1000-1.trans.txt').read_text() == '1000-1-0000 U M N\n1000-1-0001 GO\n'


@pytest.mark.parametrize('name', ['train-clean-100/1000/1/1000-1-0001.flac', 'test-clean/1012/1/1012-1-0000.flac'])
def test_samples_of_raw_and_sphere_files_are_kept(name, an4, tmp_path):
    convert(str(an4), str(tmp_path / 'out'))
    samples, rate = soundfile.read(tmp_path / 'out' / name, dtype='int16')
    assert (samples.tolist(), rate) == ([1, -2, 300], 16000)



@pytest.mark.parametrize(
    ('name', 'text', 'complaint'),
    [
        ('etc/an4_train.transcription', 'YES an1\n', r'transcription line 1: not a transcript like'),
        ('etc/an4_train.transcription', '<s> </s> (an1-s00-b)\n', r'transcription line 1: not a transcript like'),
        ('etc/an4_train.transcription', 'YES (an1-s00-b)\n', r'fileids line 2: an1-s01-b has no transcript'),
        ('etc/an4_train.fileids', 'an4_clstk/s00/an9-s00-b\n', r'fileids line 1: an9-s00-b has no audio'),
        ('etc/an4_train.fileids', '../../etc/an1-s00-b\n', r'fileids line 1: not a path'),
        ('etc/an4_train.fileids', 'an4_clstk/s00/an1-s00-b\n', r'1 training speakers, of which 10 become dev'),
        ('wav/an4_clstk/s00/an1-s00-b.raw', '', r'an1-s00-b.raw: 0 samples'),
        ('wav/an4test_clstk/menk/cen1-menk-b.sph', 'NIST', r'cen1-menk-b.sph: cannot be read'),
    ],
)
def test_what_is_incomplete_is_named_and_leaves_nothing(name, text, complaint, an4, tmp_path):
    (an4 / name).write_text(text)
    with pytest.raises(DataError, match=complaint):
        convert(str(an4), str(tmp_path / 'out'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['an4']


def test_another_directory_than_an4s_is_named(tmp_path):
    with pytest.raises(DataError, match=r'an4_train.transcription: no such file; give the directory an4/'):
        convert(str(tmp_path), str(tmp_path / 'out'))


def test_an_existing_directory_is_kept(an4, tmp_path):
    (tmp_path / 'out').mkdir()
    with pytest.raises(DataError, match='out exists; remove it'):
        convert(str(an4), str(tmp_path / 'out'))
