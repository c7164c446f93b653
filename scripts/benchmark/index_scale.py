"""Reads, checks and plans an index of a million utterances."""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time

import measuring

BUDGET = 20_000  # frames a batch
NUM_FILES = 1000  # feature files, shared by the lines: looking up a file takes the same time for each


def write(folder, num_utterances):
    """Writes an index with transcripts and lengths roughly as in LibriSpeech; returns its path."""
    import numpy as np

    from utils.data.feature_file import write_features

    rng = random.Random(0)
    words = [''.join(rng.choices('abcdefghijklmnopqrstuvwxyz', k=rng.randint(1, 9))) for _ in range(5000)]
    directory = os.path.join(folder, 'train-clean-100/1034/121119')
    os.makedirs(directory)
    names = [f'train-clean-100/1034/121119/1034-121119-{i:04}.npz' for i in range(NUM_FILES)]
    for name in names:
        write_features(os.path.join(folder, name), np.zeros((1, 40), np.float32), np.ones(1, np.int32))
    path = os.path.join(folder, 'train.json')
    with open(path, 'w') as stream:
        for i in range(num_utterances):
            frames = min(rng.randint(150, 1650), rng.randint(600, 2400))
            text = ' '.join(rng.choices(words, k=max(frames // 36, 1)))
            entry = {'key': names[i % NUM_FILES], 'duration': frames / 100 + 0.01, 'texts': text, 'frames': frames}
            stream.write(json.dumps({**entry, 'features': 'fbank-40-0.02-0.01', 'speaker': str(i % 251)}) + '\n')
    return path


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--utterances', type=int, default=1_000_000, help='lines of the index (default 1000000)')
    arguments = measuring.start(parser, argv)
    from utils.data.batching import BatchSize, padded_frames, plan_epoch
    from utils.data.index import read_index
    from utils.data.transcripts import usable_rows
    from utils.data.vocabulary import Vocabulary

    def timed(what, function, *inputs):
        start = time.perf_counter()
        result = function(*inputs)
        measuring.print_row(
            measuring.Row(
                f'{arguments.utterances:,} utterances: {what}', measuring.duration(time.perf_counter() - start)
            )
        )
        return result

    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, arguments.utterances)
        index = timed(f'read the index ({os.path.getsize(path) / 1e6:.0f} MB)', read_index, [path])
        rows = timed('check all transcripts', usable_rows, index, Vocabulary.english(), 2)
    index = index.take(rows)
    for epoch, order in ((0, 'sorted'), (1, 'shuffled')):
        plan = timed(f'plan an epoch, {order}', plan_epoch, index.frames, BatchSize(frames=BUDGET), 1, epoch, True)
    largest, frames = max(padded_frames(batch, index.frames) for batch in plan), int(index.frames.sum())
    padding = sum(padded_frames(batch, index.frames) for batch in plan) / frames - 1
    text = f'{largest:,} frames; padding {padding:.1%}'
    measuring.print_row(measuring.Row(f'largest batch under a budget of {BUDGET:,} frames', text))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measuring.print_row(measuring.Row('peak memory of all this', f'{peak:.0f} MB'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
