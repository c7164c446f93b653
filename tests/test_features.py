"""Features agree with the libraries they come from, frame alike and are finite."""

import numpy as np
import pytest
import python_speech_features as psf

from utils.data import features
from utils.data.features import FeatureSpec, extract
from utils.errors import DataError, UsageError

ALL_SPECS = [FeatureSpec(*form) for form in [('mfcc', 13), ('mfcc', 39), ('fbank', 40), ('log', 81), ('log', 161)]]
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


@pytest.mark.parametrize('spec', ALL_SPECS, ids=str)
def test_all_forms_have_the_same_frames(spec):
    for num_samples in (320, 321, 480, 481, 16000):
        found = extract(NOISE[:num_samples], spec)
        assert found.dtype == np.float32
        assert found.shape == (1 + -(-(num_samples - 320) // 160), spec.featlen)
        assert len(found) == spec.num_frames(num_samples)


@pytest.mark.parametrize('spec', ALL_SPECS, ids=str)
def test_silence_is_finite(spec):
    assert np.isfinite(extract(np.zeros(1600, np.float32), spec)).all()


@pytest.mark.parametrize('spec', ALL_SPECS, ids=str)
def test_long_recordings_are_cut_into_blocks_without_a_trace(spec, monkeypatch):
    # 1281 to 1439: the eighth frame, a block of its own, is not whole
    lengths = (16000, 1280, 1281, 1300, 1439, 1440, 1441)
    whole = [extract(NOISE[:length], spec) for length in lengths]
    monkeypatch.setattr(features, '_BLOCK_FRAMES', 7)
    for length, expected in zip(lengths, whole, strict=True):
        np.testing.assert_allclose(extract(NOISE[:length], spec), expected, rtol=1e-5, atol=1e-5)


def test_mfcc_and_fbank_are_those_of_python_speech_features():
    signal = NOISE.astype(np.float64) * 32768
    fbank = psf.logfbank(signal, 16000, 0.02, 0.01, nfilt=40, nfft=512)
    mfcc = psf.mfcc(signal, 16000, 0.02, 0.01, numcep=13, nfilt=26, nfft=512)
    deltas = psf.delta(mfcc, 2)
    np.testing.assert_allclose(extract(NOISE, FeatureSpec('fbank', 40)), fbank, rtol=1e-5)
    np.testing.assert_allclose(extract(NOISE, FeatureSpec('mfcc', 13)), mfcc, rtol=1e-4, atol=1e-5)
    expected = np.concatenate([mfcc, deltas, psf.delta(deltas, 2)], axis=1)
    np.testing.assert_allclose(extract(NOISE, FeatureSpec('mfcc', 39)), expected, rtol=1e-4, atol=1e-5)


def test_a_bin_of_the_log_spectrum_is_50_hertz_wide():
    tone = np.sin(2 * np.pi * 1000 * np.arange(1600) / 16000).astype(np.float32)
    spectrum = extract(tone, FeatureSpec('log', 161))
    assert (spectrum[:-1].argmax(axis=1) == 20).all()
    np.testing.assert_array_equal(extract(tone, FeatureSpec('log', 81)), spectrum[:, :81])


def test_log_power_is_that_of_the_windowed_transform():
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)
    power = np.abs(np.fft.rfft(NOISE[160:480].astype(np.float64) * 32768 * window)) ** 2 / 320
    np.testing.assert_allclose(extract(NOISE, FeatureSpec('log', 161))[1], np.log(power), rtol=1e-5)


@pytest.mark.parametrize('spec', ALL_SPECS, ids=str)
@pytest.mark.parametrize('value', [1e20, 3e38, np.inf])
def test_absurd_samples_have_finite_features(spec, value):
    assert np.isfinite(extract(np.array([value, -value] * 400, np.float32), spec)).all()


def test_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match=r'0.0199 s are too short for a window of 0.02 s'):
        extract(NOISE[:319], FeatureSpec())


def test_spec_and_its_name_are_inverse():
    spec = FeatureSpec('log', 81, 0.0125, 0.005)
    assert str(spec) == 'log-81-0.0125-0.005'
    assert FeatureSpec.parse(str(spec)) == spec
    assert FeatureSpec.of_featlen(39) == FeatureSpec('mfcc', 39)
    for text in ('', 'fbank-40', 'fbank-x-0.02-0.01'):
        with pytest.raises(DataError, match='does not name features'):
            FeatureSpec.parse(text)


@pytest.mark.parametrize(
    ('form', 'flags'),
    [
        (('fbank', 13), '-f.* -m'),
        (('log', 40), '-f.* -m'),
        (('log', 161, 0.025), '-wl.* -m'),
        (('fbank', 40, 0.0), '-wl'),
        (('fbank', 40, float('nan')), '-wl'),
        (('fbank', 40, 0.02, -1), '-ws'),
    ],
)
def test_what_cannot_be_computed_names_the_flags(form, flags):
    with pytest.raises(UsageError, match=flags):
        FeatureSpec(*form)
