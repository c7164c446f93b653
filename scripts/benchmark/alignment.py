"""Tests forced alignment: utterances concatenated with random pauses get the word times of each of them alone.

The concatenated recordings are aligned by scripts/align.py, whose CPU time and memory are measured.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY))

TOLERANCES_MS = (20, 50, 100)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
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


def cpu_seconds():
    """CPU time of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def align_by_command(run_dir, path, text, folder):
    """Start and end of each word `[words, 2]`, score, and of scripts/align.py: CPU seconds, and most memory in MiB."""
    import numpy as np

    Path(folder, 'text.txt').write_text(text, encoding='utf-8')
    command = [sys.executable, REPOSITORY / 'scripts' / 'align.py', '-s', run_dir, path, Path(folder, 'text.txt')]
    start, peak = cpu_seconds(), 0
    with subprocess.Popen([*command, '--format', 'json', '--out', folder]) as process:
        while process.poll() is None:
            status = Path(f'/proc/{process.pid}/status').read_text()
            peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmHWM'))])
            time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    found = json.loads(Path(folder, f'{Path(path).stem}.json').read_text())
    words = np.array([(word['start'], word['end']) for word in found['words']])
    return words, found['score'], cpu_seconds() - start, peak / 1024


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
            found, score, secs, memory = align_by_command(args.savepath, path, text, folder)
            errors.append(1000 * np.abs(found - truth))
            what = f'{len(samples) / 16000:.0f} s, {len(truth)} words, {len(text)} symbols'
            print(f'{what}: score {score:.3f}, {secs:.0f} s of CPU, {memory:.0f} MiB', flush=True)
    worst = np.concatenate(errors).max(axis=1)
    shares = ', '.join(f'{100 * np.mean(worst <= limit):.1f} % within {limit} ms' for limit in TOLERANCES_MS)
    print(f'{len(worst)} words, start and end: {shares}; mean {worst.mean():.1f} ms')
    return 0


if __name__ == '__main__':
    sys.exit(main())
