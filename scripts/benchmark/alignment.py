"""Tests forced alignment: utterances concatenated with random pauses get the word times of each of them alone."""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

TOLERANCES_MS = (20, 50, 100)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-s', '--savepath', required=True, help='run directory')
    parser.add_argument('corpus', help="corpus in LibriSpeech's layout")
    parser.add_argument('-n', '--name', default='dev-clean', help='its sub-directory (default: dev-clean)')
    parser.add_argument('--secs', type=float, default=600, help='length of a recording in seconds (default: 600)')
    parser.add_argument('--files', type=int, default=2, help='number of recordings (default: 2)')
    parser.add_argument('--seed', type=int, default=1, help='random seed of order and pauses (default: 1)')
    return parser.parse_args()


def room_noise(samples, num_samples, rng):
    """Noise as loud as the quietest tenth of an utterance, which digital silence would not resemble."""
    import numpy as np

    steps = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    return (rng.standard_normal(num_samples) * np.quantile(steps.std(axis=1), 0.1)).astype(np.float32)


def concatenate(recordings, alone, secs, rng):
    """A recording of utterances in random order, with pauses of 0.2 to 2 s; its text, and the true words."""
    import numpy as np

    from utils.audio.reader import SAMPLE_RATE, read_audio

    parts, texts, words, position = [], [], [], 0
    while position < secs * SAMPLE_RATE:
        for row in rng.permutation(len(recordings)):
            if position >= secs * SAMPLE_RATE:
                break
            samples = read_audio(recordings[row].audio_path)
            pause = room_noise(samples, int(rng.uniform(0.2, 2.0) * SAMPLE_RATE), rng)
            shift = (position + len(pause)) / SAMPLE_RATE
            words += [(word.start + shift, word.end + shift) for word in alone[row].words]
            texts.append(alone[row].text)
            parts += [pause, samples]
            position += len(pause) + len(samples)
    return np.concatenate(parts), ' '.join(texts), np.array(words)


def main():
    args = parse_args()
    import numpy as np
    import soundfile

    from utils.data.corpora import librispeech
    from utils.recognition.alignment import PosteriorKeeper, align_recording
    from utils.recognition.recognizer import load_recognizer
    from utils.run_directory import Run

    run, keeper, rng = Run.open(args.savepath), PosteriorKeeper(), np.random.default_rng(args.seed)
    recognizer = load_recognizer(run, 'best', keeper)
    recordings, _ = librispeech(args.corpus, args.name)

    def align(path, text):
        return align_recording(path, run.vocabulary.normalise(text), recognizer, keeper)

    alone = [align(each.audio_path, each.text) for each in recordings]
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.files):
            samples, text, truth = concatenate(recordings, alone, args.secs, rng)
            path = str(Path(folder, f'{number}.wav'))
            soundfile.write(path, samples, 16000, 'FLOAT')
            aligned = align(path, text)
            found = np.array([(word.start, word.end) for word in aligned.words])
            errors.append(1000 * np.abs(found - truth))
            print(f'{len(samples) / 16000:.0f} s, {len(truth)} words, score {aligned.score:.3f}', flush=True)
    worst = np.concatenate(errors).max(axis=1)
    shares = ', '.join(f'{100 * np.mean(worst <= limit):.1f} % within {limit} ms' for limit in TOLERANCES_MS)
    print(f'{len(worst)} words, start and end: {shares}; mean {worst.mean():.1f} ms')
    return 0


if __name__ == '__main__':
    sys.exit(main())
