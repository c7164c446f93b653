"""Times feature extraction on one core, and preprocessing on all of them."""

import argparse
import os
import resource
import sys
import tempfile
import time

import measuring

SECS = 10
FORMS = (('mfcc', 13), ('mfcc', 39), ('fbank', 40), ('log', 81), ('log', 161))
NUM_FILES = 240


def by_library(samples, spec):
    """The same features by direct calls of the libraries."""
    import numpy as np
    import python_speech_features as psf
    import scipy.signal

    signal = samples.astype(np.float64) * 32768
    if spec.mode == 'log':
        _, _, power = scipy.signal.spectrogram(signal, 16000, 'hann', spec.window, spec.window - spec.step, nfft=320)
        return np.log(power[: spec.featlen].T + np.finfo(np.float64).eps)
    if spec.mode == 'fbank':
        return psf.logfbank(signal, 16000, 0.02, 0.01, nfilt=40, nfft=512)
    features = psf.mfcc(signal, 16000, 0.02, 0.01, nfft=512)
    if spec.featlen == 13:
        return features
    deltas = psf.delta(features, 2)
    return np.concatenate([features, deltas, psf.delta(deltas, 2)], axis=1)


def noise(seconds):
    """Noise, whose features cost as much as those of speech."""
    import numpy as np

    return np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * seconds).astype(np.float32)


def preprocessing(spec, folder):
    """(hours of audio per hour on all cores, share of processor time used by the workers)."""
    from utils.data.extraction import Task, extract_all
    from utils.system import num_cores

    audio_path = os.path.join(folder, 'noise.flac')
    tasks = [Task(audio_path, os.path.join(folder, str(spec), f'{i}.npz'), [1]) for i in range(NUM_FILES)]
    cores, before = num_cores(), resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    extract_all(tasks, len(tasks), spec, cores)
    elapsed = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return NUM_FILES * SECS / elapsed, busy / elapsed / cores


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=3, help='time to spend on each kind of features (default 3)')
    arguments = measuring.start(parser, argv)
    import soundfile

    from utils.data.features import FeatureSpec, extract

    samples = noise(SECS)
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(os.path.join(folder, 'noise.flac'), samples, 16000)
        for form in FORMS:
            spec = FeatureSpec(*form)
            runs = {
                'ours': lambda spec=spec: extract(samples, spec) is None or None,
                'theirs': lambda spec=spec: by_library(samples, spec) is None or None,
            }
            found = measuring.medians(runs, arguments.seconds)
            library = 'scipy.signal' if spec.mode == 'log' else 'python_speech_features'
            name = f'{spec.mode} {spec.featlen}'
            row = measuring.compare(f'{name} of {SECS} s of audio, one core', found['ours'], library, found['theirs'])
            measuring.print_row(row)
            rate, busy = preprocessing(spec, folder)
            measuring.print_row(
                measuring.Row(f'{name}, FLAC to npz, all cores', f'{rate:.0f} h an hour, {busy:.0%} busy')
            )
    return 0


if __name__ == '__main__':
    sys.exit(main())
