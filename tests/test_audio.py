"""Recordings of any format, rate and number of channels become the same samples; broken ones say so."""

import numpy as np
import pytest
import soundfile

from utils.data.audio import measure, read_audio
from utils.errors import DataError


def tone(rate, secs=0.5, hertz=440):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * secs)) / rate)


def test_flac_at_16_khz_is_read_as_it_is(tmp_path):
    samples = np.array([0, 1, -32768, 32767], np.int16)
    soundfile.write(tmp_path / 'a.flac', samples, 16000)
    read = read_audio(str(tmp_path / 'a.flac'))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read * 32768, samples)


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / 'a.wav', np.array([[0.5, -0.25], [0.0, 0.5]]), 16000)
    np.testing.assert_allclose(read_audio(str(tmp_path / 'a.wav')), [0.125, 0.25])


@pytest.mark.parametrize('rate', [8000, 11025, 22050, 44100, 48000])
def test_any_rate_becomes_16_khz(tmp_path, rate):
    soundfile.write(tmp_path / 'a.wav', tone(rate), rate, subtype='FLOAT')
    read = read_audio(str(tmp_path / 'a.wav'))
    np.testing.assert_allclose(read[500:7500], tone(16000)[500:7500], atol=2e-3)  # the ends ring


@pytest.mark.parametrize(('suffix', 'rate'), [('flac', 16000), ('wav', 11025), ('ogg', 44100)])
def test_measure_says_what_read_audio_returns(tmp_path, suffix, rate):
    path = str(tmp_path / f'a.{suffix}')
    soundfile.write(path, tone(rate), rate)
    num_samples, duration_secs = measure(path)
    assert num_samples == len(read_audio(path))
    assert duration_secs == int(rate * 0.5) / rate


def test_cut_short_files_are_refused(tmp_path):
    for suffix in ('flac', 'wav'):
        path = tmp_path / f'a.{suffix}'
        soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 16000), 16000)
        path.write_bytes(path.read_bytes()[:9000])
        with pytest.raises(DataError, match=rf'a\.{suffix}: (cut short|not readable)'):
            read_audio(str(path))


def test_what_is_no_recording_is_named(tmp_path):
    (tmp_path / 'empty.flac').write_bytes(b'')
    (tmp_path / 'text.flac').write_text('hello')
    soundfile.write(tmp_path / 'silent.wav', np.zeros(0), 16000)
    soundfile.write(tmp_path / 'nan.wav', np.array([0.1, np.nan]), 16000, subtype='FLOAT')
    for name, reason in [
        ('empty.flac', 'empty'),
        ('text.flac', 'not readable as audio'),
        ('silent.wav', 'no samples'),
        ('nan.wav', 'not finite'),
        ('missing.flac', 'no such file'),
    ]:
        with pytest.raises(DataError, match=rf'{name}: .*{reason}'):
            read_audio(str(tmp_path / name))
