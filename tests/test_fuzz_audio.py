"""Damaged recordings of many formats: each gives samples of a plausible length, a warning, or one DataError."""

import faulthandler
import io
import os
import random
import resource
import subprocess
import sys

import numpy as np
import soundfile

from tests.processes import ROOT
from utils.audio import reader
from utils.errors import DataError

NUM_MUTATIONS = 300
NUM_SAMPLES = 25600  # whole blocks of GSM 6.10
MAX_MEMORY = 200 << 20
# a result shorter than this share of the recording needs a warning; of a FLAC, some 16 KiB at the end are not accounted
SHORTEST = {'flac': 0.6}
FORMATS = [
    ('WAV', 'PCM_16'),
    ('WAV', 'FLOAT'),
    ('WAV', 'GSM610'),
    ('WAVEX', 'PCM_24'),
    ('RF64', 'PCM_16'),
    ('FLAC', 'PCM_16'),
    ('OGG', 'VORBIS'),
    ('OGG', 'OPUS'),
    ('AIFF', 'PCM_16'),
    ('AU', 'PCM_16'),
    ('W64', 'PCM_16'),
    ('MP3', 'MPEG_LAYER_III'),
    ('NIST', 'PCM_16'),
    ('CAF', 'PCM_16'),
]
# where the header has its fields, by the marker before them, and the sizes of those that hold lengths
FIELDS = {'WAV': b'data', 'WAVEX': b'data', 'RF64': b'ds64', 'AIFF': b'SSND', 'AU': b'.snd', 'W64': b'data'}
FIELDS |= {'MP3': b'Xing', 'CAF': b'data'}


def make_recording(file_format, subtype):
    """Bytes of a recording that is loud everywhere, so that no second of it can be lost unseen."""
    rng = np.random.default_rng(0)
    samples = 0.3 * np.sin(np.arange(NUM_SAMPLES) / 7) + 0.05 * rng.standard_normal(NUM_SAMPLES)
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16000, format=file_format, subtype=subtype)
    return stream.getvalue()


def claim_length(data, file_format, rng):
    """Writes another length into the header."""
    data = bytearray(data)
    length = rng.choice([0, 1, len(data) // 4, len(data) // 2, 2 * len(data), 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF])
    if file_format == 'FLAC':  # 36 bits, after the rate, the channels and the bits of a sample
        data[22:26] = length.to_bytes(4, 'big')
    elif file_format == 'NIST':
        data = data.replace(b'-i %d\n' % NUM_SAMPLES, b'-i %05d\n' % (length % 100000))
    elif file_format in FIELDS:
        size = 8 if file_format in ('W64', 'RF64') else 4
        order = 'big' if file_format in ('AIFF', 'AU', 'MP3', 'CAF') else 'little'
        offset = {'W64': 16, 'RF64': 16, 'MP3': 8, 'AU': 8, 'CAF': 8}.get(file_format, 4)
        start = data.index(FIELDS[file_format]) + offset
        data[start : start + size] = length.to_bytes(size, order)
    return bytes(data)


def mutate(data, file_format, rng):
    kind = rng.choice(['flips', 'header', 'cut', 'zeros', 'length', 'insert'])
    if kind == 'cut':
        return data[: rng.randrange(len(data))]
    if kind == 'length':
        return claim_length(data, file_format, rng)
    if kind == 'insert':
        position = rng.randrange(len(data))
        return data[:position] + rng.randbytes(rng.choice([1, 7, 1000])) + data[position:]
    data = bytearray(data)
    if kind == 'zeros':
        start = rng.randrange(len(data))
        stop = min(len(data), start + rng.choice([100, len(data) // 4, len(data) // 2]))
        data[start:stop] = bytes(stop - start)
    for _ in range(rng.randrange(1, 5) if kind in ('flips', 'header') else 0):
        position = rng.randrange(len(data) if kind == 'flips' else 100)
        data[position] = data[position] ^ 1 << rng.randrange(8) if rng.random() < 0.7 else rng.randrange(256)
    return bytes(data)


def check(path, subtype):
    """Reads a mutation; returns what is wrong with the answer, or ''."""
    warnings = []
    try:
        reader.measure(path)
        samples = reader.read_audio(path, warnings)
        with reader._open(path) as sound:
            values_per_sample, now = sound.samplerate / reader.SAMPLE_RATE * sound.channels, sound.subtype
    except DataError as error:
        message = str(error)
        return '' if message.startswith(f'{path}: ') and '\n' not in message else f'message: {message}'
    if samples.dtype != np.float32 or samples.ndim != 1 or not np.isfinite(samples).all():
        return 'the samples are no finite float32'
    num_values = len(samples) * values_per_sample
    if num_values < SHORTEST.get(path.rpartition('.')[2], 0.8) * NUM_SAMPLES and now == subtype and not warnings:
        return f'{num_values:.0f} of {NUM_SAMPLES} values without a warning'
    return ''


def main(folder):
    """Reads all mutations; prints what is wrong, and the memory that reading took."""
    reader._BLOCK_VALUES = 4096
    rng = random.Random(int(os.environ.get("SEED", 1)))
    recordings = [(*form, make_recording(*form)) for form in FORMATS]
    for file_format, subtype, data in recordings:  # loads the libraries
        path = os.path.join(folder, 'whole')
        with open(path, 'wb') as stream:
            stream.write(data)
        if len(reader.read_audio(path)) != NUM_SAMPLES:
            print(f'{file_format} {subtype}: {len(reader.read_audio(path))} samples')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(int(os.environ.get('NUM_MUTATIONS', NUM_MUTATIONS))):
        file_format, subtype, data = rng.choice(recordings)
        path = os.path.join(folder, f'{number}.{file_format.lower()}')
        with open(path, 'wb') as stream:
            stream.write(mutate(data, file_format, rng))
        faulthandler.dump_traceback_later(10, exit=True)
        if fault := check(path, subtype):
            print(f'{path}: {fault}')
    faulthandler.cancel_dump_traceback_later()
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 > MAX_MEMORY:
        print('more than 200 MB')


def test_no_damage_hangs_raises_or_loses_audio_silently(tmp_path):
    command = [sys.executable, '-m', 'tests.test_fuzz_audio', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


if __name__ == '__main__':
    main(sys.argv[1])
