"""Augmented copies: speed, noise and gain as measured on the signal, and the index and the files with copies."""

import argparse
import json

import numpy as np
import pytest
import soundfile

import libri_preprocess
from tests.tones import write_corpus
from utils.data.corpora import Recording
from utils.data.perturb import Copies, Noise, Perturbation
from utils.errors import UsageError, run_main

RATE = 16000
TONE = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
RECORDING = Recording('1-2-0003', 'a.flac', 'text', 'anna', 'train/1-2-0003')
FLAGS = {'speeds': None, 'noise_dir': None, 'snr': None, 'gain': None, 'seed': None, 'split': None}


def make_noise(path, secs):
    samples = np.random.default_rng(5).uniform(-0.3, 0.3, int(secs * RATE)).astype(np.float32)
    soundfile.write(path, samples, RATE, subtype='FLOAT')
    return samples, Noise(str(path), path.name, len(samples))


def preprocess(root, *flags, index='train.json'):
    paths = [str(root / name) for name in ('corpus', 'features', index)]
    return run_main(lambda: libri_preprocess.main([*map(str, flags), '-n', 'train-clean-100', *paths]))


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(('speed', 'hertz'), [(1.1, 484), (0.9, 396)])
def test_speed_changes_pitch_and_length(speed, hertz):
    change = Perturbation(speed=speed)
    faster = change.apply(TONE)
    assert len(faster) == change.num_samples(len(TONE)) == int(np.ceil(len(TONE) / speed))
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    assert np.argmax(spectrum) * RATE / len(faster) == pytest.approx(hertz, abs=0.5)
    middle = faster[RATE // 4 : -RATE // 4]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(1, abs=0.01) and faster.dtype == np.float32


@pytest.mark.parametrize('noise_secs', [0.3, 2.0, 5.0])
@pytest.mark.parametrize('snr_db', [-5.0, 0.0, 12.3])
def test_noise_has_the_power_that_the_ratio_demands(tmp_path, noise_secs, snr_db):
    _, noise = make_noise(tmp_path / 'n.wav', noise_secs)
    noisy = Perturbation(noise=noise, offset=0.7, snr_db=snr_db).apply(TONE)
    added = (noisy - TONE).astype(np.float64)
    measured = 10 * np.log10(np.mean(TONE.astype(np.float64) ** 2) / np.mean(added**2))
    assert measured == pytest.approx(snr_db, abs=0.1) and len(noisy) == len(TONE)


def test_a_long_noise_is_cut_and_a_short_one_repeated_from_the_offset(tmp_path):
    def added(noise):
        noisy = Perturbation(noise=noise, offset=0.5).apply(TONE)
        part = noisy - TONE
        return part / np.abs(part).max()

    samples, noise = make_noise(tmp_path / 'long.wav', 5)
    cut = samples[3 * RATE // 2 : 7 * RATE // 2]
    np.testing.assert_allclose(added(noise), cut / np.abs(cut).max(), atol=1e-5)
    samples, noise = make_noise(tmp_path / 'short.wav', 0.5)
    repeated = np.tile(samples, 6)[RATE // 4 : RATE // 4 + 2 * RATE]
    np.testing.assert_allclose(added(noise), repeated / np.abs(repeated).max(), atol=1e-5)


def test_a_gain_is_in_decibels():
    np.testing.assert_allclose(Perturbation(gain_db=-6.0).apply(TONE), TONE * 0.501187, rtol=1e-4)
    assert Perturbation().apply(TONE) is TONE


def test_each_copy_has_a_name_and_draws_of_its_own_and_keeps_the_speaker():
    noises = tuple(Noise(f'{name}.wav', f'{name}.wav', 9) for name in 'abcdef')
    copies = Copies(speeds=(0.9, 1.0, 1.1), noises=noises, snr_db=(5, 20), gain_db=(-6, 6))
    found = copies.of(RECORDING)
    assert [copy.utterance_id for copy in found] == [f'1-2-0003-sp{speed}' for speed in ('0.9', '1.0', '1.1')]
    assert found[0].relative_path == 'train/1-2-0003-sp0.9' and {copy.speaker for copy in found} == {'anna'}
    assert len({(copy.change.snr_db, copy.change.gain_db, copy.change.offset) for copy in found}) == 3
    assert copies.of(RECORDING) == found
    others = [copies.of(RECORDING._replace(utterance_id=f'{number}'))[0].change for number in range(300)]
    assert {change.noise for change in others} == set(noises)
    assert min(change.snr_db for change in others) < 6 and max(change.snr_db for change in others) > 19
    assert all(5 <= change.snr_db <= 20 and -6 <= change.gain_db <= 6 for change in others)


def test_a_copy_equal_to_the_utterance_is_not_made():
    assert Copies().of(RECORDING) == [] and not Copies().changes
    assert [str(copy.change) for copy in Copies(speeds=(0.9, 1.0)).of(RECORDING)] == ['speed 0.9']
    assert Copies(gain_db=(3, 3)).of(RECORDING)[0].change == Perturbation(gain_db=3.0)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ({'snr': (5, 5)}, '--snr is for --noise_dir'),
        ({'seed': 4, 'speeds': (0.9,)}, '--seed is for --noise_dir and --gain'),
        ({'gain': (0, 1), 'split': (0, 0.5, 0.5)}, 'no training part'),
    ],
)
def test_flags_without_effect_are_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        Copies.from_flags(argparse.Namespace(**{**FLAGS, **flags}))


@pytest.mark.parametrize(
    'wrong', ['--speeds 3', '--speeds 0.91234', '--speeds 0.9,', '--gain 6:-6', '--snr 5:x', '--noise_dir nowhere']
)
def test_a_wrong_flag_is_one_line_before_any_work(tmp_path, wrong, capfd):
    write_corpus(tmp_path / 'corpus')
    try:
        status = preprocess(tmp_path, *wrong.split())
    except SystemExit as end:
        status = end.code
    assert status == (1 if 'nowhere' in wrong else 2)
    error = capfd.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1 and not (tmp_path / 'features').exists()


def test_an_index_has_the_utterances_and_their_copies(tmp_path, capfd):
    write_corpus(tmp_path / 'corpus', sentences=['abc de', 'bad'])
    (tmp_path / 'noise/in').mkdir(parents=True)
    make_noise(tmp_path / 'noise/in/n.wav', 0.5)
    (tmp_path / 'noise/bad.flac').write_bytes(b'no audio')
    (tmp_path / 'noise/README').write_text('left alone')
    assert preprocess(tmp_path, '--speeds', '1.0', index='plain.json') == 0
    noisy = ['--speeds', '0.9,1.0', '--noise_dir', tmp_path / 'noise', '--gain', '-6:-2']
    assert preprocess(tmp_path, *noisy, '--jobs', '1') == 1
    shown = capfd.readouterr()
    assert f'left out: noise that cannot be read: {tmp_path}/noise/bad.flac' in shown.err
    assert '6 utterances of 1 speakers' in shown.out and '; 4 are augmented copies' in shown.out
    plain, lines = entries(tmp_path / 'plain.json'), entries(tmp_path / 'train.json')
    assert lines[:2] == plain and 'augmentation' not in plain[0]
    slow = lines[2]
    assert slow['key'] == plain[0]['key'].replace('.npz', '-sp0.9.npz') and slow['texts'] == 'abc de'
    assert slow['duration'] == pytest.approx(plain[0]['duration'] / 0.9, abs=1e-6)
    assert slow['augmentation'].startswith('speed 0.9, noise in/n.wav at ') and 'gain -' in slow['augmentation']
    assert lines[3]['augmentation'].startswith('noise in/n.wav at ')
    before = [dict(np.load(tmp_path / line['key'])) for line in lines]
    assert [len(each['features']) for each in before] == [line['frames'] for line in lines]
    for path in (tmp_path / 'features').rglob('*.npz'):
        path.unlink()
    preprocess(tmp_path, *noisy, '--jobs', '2')
    for line, old in zip(lines, before, strict=True):
        new = dict(np.load(tmp_path / line['key']))
        assert new.get('source') == old.get('source')
        np.testing.assert_allclose(new['features'], old['features'], atol=1e-5)  # threads of BLAS round differently
    capfd.readouterr()
    preprocess(tmp_path, *noisy, '--snr', '30:40', '--jobs', '1')
    assert 'features: 4 made, 2 there already' in capfd.readouterr().out
    assert 'warning' not in shown.err


def test_only_train_gets_copies_when_the_corpus_is_split_and_a_dev_set_is_warned_of(tmp_path, capfd):
    write_corpus(tmp_path / 'corpus', sentences=['abc de'])
    folder = tmp_path / 'corpus/train-clean-100'
    for speaker in '23':
        (folder / speaker / '2').mkdir(parents=True)
        sound = (folder / '1/2/1-2-0000.flac').read_bytes()
        (folder / speaker / f'2/{speaker}-2-0000.flac').write_bytes(sound)
        (folder / speaker / f'2/{speaker}-2.trans.txt').write_text(f'{speaker}-2-0000 ABC DE\n')
    assert preprocess(tmp_path, '--speeds', '1.1', '-s', '1:1:1', '--jobs', '1', index='all.json') == 0
    parts = {part: entries(tmp_path / f'all.{part}.json') for part in ('train', 'dev', 'test')}
    assert [len(part) for part in parts.values()] == [2, 1, 1]
    assert 'augmentation' not in {**parts['dev'][0], **parts['test'][0]}
    assert len({line['speaker'] for line in parts['train']}) == 1
    assert 'warning' not in capfd.readouterr().err
    assert preprocess(tmp_path, '--speeds', '1.1', '--jobs', '1', index='dev.json') == 0
    assert 'warning: dev.json will have augmented copies' in capfd.readouterr().err


def test_a_silent_noise_is_named(tmp_path, capfd):
    write_corpus(tmp_path / 'corpus', sentences=['abc de'])
    (tmp_path / 'noise').mkdir()
    soundfile.write(tmp_path / 'noise/zero.wav', np.zeros(RATE), RATE)
    assert preprocess(tmp_path, '--noise_dir', tmp_path / 'noise', '--jobs', '1') == 1
    shown = capfd.readouterr().err
    assert 'left out: noise that cannot be used: 1-2-0000-sp1.0: ' in shown
    assert 'zero.wav: silent where it was cut' in shown
    assert len(entries(tmp_path / 'train.json')) == 1
