"""Recordings of any format, rate and number of channels become the same samples; broken ones say so."""

import math
import os
import re

import numpy as np
import pytest
import scipy.signal
import soundfile

from utils.audio import reader
from utils.audio.reader import measure, read_audio, read_blocks
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


def test_gsm_610_is_read_to_the_end(tmp_path):
    path = str(tmp_path / 'a.wav')
    soundfile.write(path, tone(16000, 0.52), 16000, subtype='GSM610')
    assert len(read_audio(path)) == 8320


@pytest.mark.parametrize('rate', [8000, 22050, 44100, 44101, 48000])
def test_blocks_are_resampled_as_the_whole_would_be(tmp_path, rate, monkeypatch):
    monkeypatch.setattr(reader, '_BLOCK_VALUES', 1 << 14)
    samples = np.random.default_rng(0).uniform(-1, 1, 4 * rate).astype(np.float32)
    soundfile.write(tmp_path / 'a.wav', samples, rate, subtype='FLOAT')
    blocks = list(read_blocks(str(tmp_path / 'a.wav')))
    divisor = math.gcd(rate, 16000)
    whole = scipy.signal.resample_poly(samples, 16000 // divisor, rate // divisor)
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def with_length(path, marker, length, size=4, order='little', skip=0):
    """Writes another length into the header of a file, after a marker."""
    data = bytearray(path.read_bytes())
    start = data.index(marker) + len(marker) + skip
    data[start : start + size] = length.to_bytes(size, order)
    path.write_bytes(data)
    return str(path)


def noise_file(path, secs=2, rate=16000, **kind):
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, int(secs * rate)), rate, **kind)
    return path


@pytest.mark.parametrize('rate', [1, 999, 768001, 2**31 - 1])
def test_rates_that_cannot_be_meant_are_refused(tmp_path, rate):
    path = with_length(noise_file(tmp_path / 'a.wav', 20), b'fmt ', rate, skip=8)
    for read in (measure, read_audio):
        with pytest.raises(DataError, match=rf'a\.wav: .*{rate} samples a second'):
            read(path)


@pytest.mark.parametrize('length', [0, 30000])
@pytest.mark.parametrize(
    ('name', 'marker', 'order', 'skip'),
    [('a.wav', b'data', 'little', 0), ('a.aiff', b'SSND', 'big', 0), ('a.au', b'.snd', 'big', 4)],
)
def test_samples_after_the_end_that_the_header_gives_are_never_lost(tmp_path, name, marker, order, skip, length):
    path = with_length(noise_file(tmp_path / name), marker, length, order=order, skip=skip)
    if name == 'a.aiff' and not length:  # libsndfile takes 0 for a recorder that was killed
        assert len(read_audio(path)) == 32000
        return
    with pytest.raises(DataError, match=rf'{name}: ends after .* by its header, but \d+ of \d+ bytes follow'):
        read_audio(path)


def test_header_of_a_stream_has_no_length(tmp_path):
    for length in (0xFFFFFFFF, 0x7FFFFFFF):
        path = with_length(noise_file(tmp_path / 'a.wav'), b'data', length)
        assert len(read_audio(path)) == 32000
    for length, size in ((0, 32000), (16000, 0), (64000, 0), (2**32 - 1, 0)):
        path = with_length(noise_file(tmp_path / 'a.flac', subtype='PCM_24'), b'fLaC', length, order='big', skip=18)
        if size:
            assert len(read_audio(path)) == size
        else:
            with pytest.raises(DataError, match='bytes follow|cut short: 32000 samples of'):
                read_audio(path)


def test_metadata_after_the_samples_is_no_damage(tmp_path):
    path = noise_file(tmp_path / 'a.wav')
    path.write_bytes(path.read_bytes() + b'ABCD' + (100_000).to_bytes(4, 'little') + bytes(100_000))
    assert len(read_audio(str(path))) == 32000


def test_formats_in_which_a_loss_would_not_show_are_refused(tmp_path):
    for file_format in ('VOC', 'IRCAM', 'PAF'):
        path = noise_file(tmp_path / 'a.wav', format=file_format, subtype='PCM_16')
        with pytest.raises(DataError, match=r'a\.wav: .* is no format that is read here; convert it to FLAC'):
            read_audio(str(path))


@pytest.mark.parametrize('name', 'a.wav a.aiff a.au a.w64 a.rf64 a.ogg a.sph a.caf a.opus a.flac'.split())
def test_files_of_all_formats_that_are_cut_short_are_refused(tmp_path, name):
    kind = {'a.sph': {'format': 'NIST'}, 'a.opus': {'format': 'OGG', 'subtype': 'OPUS'}}.get(name, {})
    path = noise_file(tmp_path / name, **kind)
    whole = path.read_bytes()
    for share in (0.4, 0.8, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=rf'{name}: (.*cut short|not readable|has no samples)'):
            read_audio(str(path))


@pytest.mark.parametrize(('count', 'message'), [(10, 'bytes follow'), (2**32 - 1, ''), (10_000, '')])
def test_mp3_with_a_damaged_count_is_read_to_the_end_or_refused(tmp_path, count, message, capfd):
    path = with_length(noise_file(tmp_path / 'a.mp3'), b'Xing', count, order='big', skip=4)
    warnings = []
    if message:
        with pytest.raises(DataError, match=message):
            read_audio(path)
    else:
        assert len(read_audio(path, warnings)) == pytest.approx(32000, abs=3000)
        assert 'may be cut short' in warnings[0]
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('value', [1e20, -32768.0, np.inf])
def test_samples_far_above_full_scale_are_refused(tmp_path, value):
    soundfile.write(tmp_path / 'a.wav', np.array([0.1, value]), 16000, subtype='FLOAT')
    with pytest.raises(DataError, match=r'a\.wav: has samples (of 1e\+20|of 32768|that are not finite)'):
        read_audio(str(tmp_path / 'a.wav'))


def test_suspicious_signals_are_described(tmp_path):
    for samples, text in [
        (np.zeros(1600), '100% of its samples are exactly 0'),
        (np.full(1600, 1e-4), 'hardly any sound'),
        (np.clip(5 * tone(16000), -1, 1), r'clipped: \d+% of its samples'),
        (tone(16000, 0.5), None),
        (2 * tone(16000, 0.5), None),
        (5 * tone(16000), 'its peak is 2.5'),
    ]:
        warnings = []
        subtype = 'FLOAT' if text and 'peak is' in text else 'PCM_16'
        soundfile.write(tmp_path / 'a.wav', samples, 16000, subtype=subtype)
        read_audio(str(tmp_path / 'a.wav'), warnings)
        assert len(warnings) == bool(text), (text, warnings)
        assert not text or re.match(text, warnings[0])


def test_special_files_do_not_block(tmp_path):
    os.mkfifo(tmp_path / 'a.wav')
    for path in (tmp_path / 'a.wav', tmp_path):
        with pytest.raises(DataError, match='not a regular file'):
            read_audio(str(path))


def test_an_utterance_has_a_longest_length(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, '_MAX_WHOLE_SECS', 3)
    path = str(noise_file(tmp_path / 'a.flac', 4))
    with pytest.raises(DataError, match=r'a\.flac: longer than 3 s'):
        read_audio(path)
    assert sum(map(len, read_blocks(path))) == 64000


SEGMENTED = 'a.wav a.aiff a.au a.w64 a.rf64 a.ogg a.sph a.caf a.opus a.flac a.mp3 gsm.wav ima.wav'


@pytest.mark.parametrize('name', SEGMENTED.split())
def test_a_segment_has_the_very_samples_of_the_whole(tmp_path, name, monkeypatch, capfd):
    monkeypatch.setattr(reader, '_BLOCK_VALUES', 1 << 14)
    kinds = {'a.sph': {'format': 'NIST'}, 'a.opus': {'format': 'OGG', 'subtype': 'OPUS'}}
    kinds |= {'gsm.wav': {'subtype': 'GSM610'}, 'ima.wav': {'subtype': 'IMA_ADPCM'}}
    path = str(noise_file(tmp_path / name, 10, **kinds.get(name, {})))
    whole = read_audio(path)
    for start, end in [(0, 0.5), (0.123456, 1), (4.2, 9.9), (8.00003, None), (0, len(whole) / 16000)]:
        last = len(whole) if end is None else round(end * 16000)
        warnings = []
        np.testing.assert_array_equal(read_audio(path, warnings, start, end), whole[round(start * 16000) : last])
        assert measure(path, start, end) == (last - round(start * 16000), (last - round(start * 16000)) / 16000)
        assert warnings == []
    assert capfd.readouterr().err == ''


def test_a_segment_at_another_rate_is_resampled_as_its_own_file_would_be(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 44100).astype(np.float32)
    soundfile.write(tmp_path / 'long.wav', samples, 44100, subtype='FLOAT')
    soundfile.write(tmp_path / 'cut.wav', samples[11025:33075], 44100, subtype='FLOAT')
    cut, segment = str(tmp_path / 'cut.wav'), (str(tmp_path / 'long.wav'), None, 0.25, 0.75)
    np.testing.assert_array_equal(read_audio(*segment), read_audio(cut))
    assert measure(segment[0], *segment[2:]) == measure(cut) == (8000, 0.5)


def test_segments_of_a_file_longer_than_an_hour_are_read(tmp_path):
    path, samples = str(tmp_path / 'a.flac'), np.zeros(3700 * 1000, np.int16)
    samples[3650 * 1000 : 3651 * 1000] = 1000 * np.arange(1000) // 100
    soundfile.write(path, samples, 1000)
    assert len(read_audio(path, None, 3650, 3651)) == 16000
    assert np.abs(read_audio(path, None, 3650, 3651)).max() > 0.2
    for segment in ((), (0, 3650)):
        with pytest.raises(DataError, match=r'a\.flac: longer than 3600 s; cut it into utterances'):
            read_audio(path, None, *segment)


@pytest.mark.parametrize(
    ('start', 'end', 'message'),
    [
        (math.nan, 1, 'from nan s to 1 s: not times in seconds, the end after the start'),
        (-0.5, 1, 'from -0.5 s to 1 s: not times'),
        (1, math.nan, 'to nan s: not times'),
        (1, 0.5, 'from 1 s to 0.5 s: not times'),
        (math.inf, None, 'from inf s to the end: '),
        (0, math.inf, 'from 0 s to inf s: the file ends at 2.000 s'),
        (0.5, 2.1, 'from 0.5 s to 2.1 s: the file ends at 2.000 s'),
        (3, None, 'from 3 s to the end: the file ends at 2.000 s'),
        (1e300, 1e301, 'not times'),
        (1, 1.00001, 'no samples in it'),
        (2, 2.01, 'no samples in it'),
    ],
)
def test_segments_that_are_not_within_the_file_are_refused(tmp_path, start, end, message):
    path = str(noise_file(tmp_path / 'a.wav'))
    for read in (lambda: measure(path, start, end), lambda: read_audio(path, None, start, end)):
        with pytest.raises(DataError, match=rf'a\.wav: segment .*{message}.*; correct '):
            read()


def test_an_end_that_was_rounded_up_is_the_end_of_the_file(tmp_path):
    path = str(noise_file(tmp_path / 'a.wav', 1.996))
    assert len(read_audio(path, None, 1, 2)) == round(0.996 * 16000)
    assert measure(path, 1, 2)[0] == round(0.996 * 16000)


def test_a_segment_ends_where_a_damaged_file_does(tmp_path):
    path = noise_file(tmp_path / 'a.flac', 10)
    whole = read_audio(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.testing.assert_array_equal(read_audio(str(path), None, 1, 2), whole[16000:32000])
    for start, end in ((4, 8), (7, 8)):
        with pytest.raises(DataError, match=r'a\.flac: (ends at .* within the segment|not readable)'):
            read_audio(str(path), None, start, end)
