"""Live recognition on one core: latency, real-time factor, streams in real time, memory of a stream.

The audio is read from files (AN4's dev set by default), 100 ms a call, as if it came from microphones. Latency is the
time from the end of a word, by the words of the final text, to the first text that has it: the future that the model
waits for, the wait for a whole chunk, and the computation. The real-time factor is processor time by the length of the
audio.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measuring import import_tensorflow, machine

from utils.cli import Parser, count
from utils.errors import DataError, run_main

CHUNK_SECS = 0.1
NUM_STREAMS = 1, 4, 8, 16, 32, 64


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog='streaming.py', description=__doc__.split('\n\n')[0])
    what = "run of a ds2 of one direction (default: random weights, of the size of AN4's)"
    parser.add_argument('-s', '--savepath', metavar='RUN', help=what)
    default = os.environ.get('AN4') or str(Path.home() / 'corpus/an4')
    parser.add_argument('--audio', default=f'{default}/dev-clean', metavar='DIR', help='recordings')
    parser.add_argument('--files', type=count, default=20, help='number of recordings')
    parser.add_argument('--lm', metavar='ARPA', help='word or character model for the beam search of 100')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before TensorFlow counts the cores
    tf = import_tensorflow()
    from utils.audio.reader import read_audio
    from utils.decode.ctc_beam import BeamOptions
    from utils.decode.decoder import BeamDecoder
    from utils.lm.scorer import load_scorer
    from utils.recognition.recognizer import StreamingModel
    from utils.recognition.streaming import StreamingRecognizer
    from utils.run_directory import Run

    paths = sorted(Path(args.audio).rglob('*.flac'))[: args.files]
    if not paths:
        raise DataError(f'{args.audio}: no FLAC below it; name recordings with --audio')
    sounds = [read_audio(str(path)) for path in paths]
    with tempfile.TemporaryDirectory() as directory:
        run = Run.open(args.savepath) if args.savepath else random_run(tf, directory)
        model = StreamingModel(run)
    scorer = load_scorer(args.lm, run.vocabulary.tokens, 1.0, 1.0) if args.lm else None
    beam = BeamDecoder(run.config.model.classes - 1, BeamOptions(), scorer)
    weights = 'the run ' + args.savepath if args.savepath else 'random weights'
    print(f'{machine()}; one core, which other work may share; {weights}; {len(sounds)} recordings, '
          f'{sum(map(len, sounds)) / 16000:.0f} s\n')  # fmt: skip
    print(f'the model waits for {1000 * model.delay * model.secs_per_frame:.0f} ms of audio, '
          f'{1000 * run.config.model.lookahead_frames * model.secs_per_frame:.0f} ms of them for the lookahead\n')
    print('| decoding | real-time factor | latency of a word, median and 90 % | memory of a stream, at most |')
    print('|---|---|---|---|')
    for name, decoder in (('greedy', None), (f'beam of 100, {"with" if args.lm else "no"} language model', beam)):
        recognizer = StreamingRecognizer(model, decoder)
        play(recognizer, sounds[0])
        start, latencies, num_bytes = time.process_time(), [], 0
        for samples in sounds:
            found, size = play(recognizer, samples)
            latencies, num_bytes = latencies + found, max(num_bytes, size)
        factor = (time.process_time() - start) * 16000 / sum(map(len, sounds))
        if len(latencies) < 2:
            raise DataError('no words were recognised, so there is no latency; name another run or recordings')
        middle, late = statistics.median(latencies), statistics.quantiles(latencies, n=10)[-1]
        print(f'| {name} | {factor:.3f} | {1000 * middle:.0f} ms, {1000 * late:.0f} ms | {num_bytes / 1e6:.2f} MB |')
    print('\n| streams, greedy, batched | processor time by length of the audio | of each stream |\n|---|---|---|')
    for number in NUM_STREAMS:
        factor = together(StreamingRecognizer(model), [sounds[i % len(sounds)] for i in range(number)])
        print(f'| {number} | {factor:.3f} | {factor / number:.4f} |', flush=True)
        if factor > 1:
            break
    return 0


def play(recognizer, samples) -> tuple[list[float], int]:
    """Latency of each word of a recording, in seconds, and the largest memory of its stream."""
    stream, seen, size = recognizer.open(), [], 0
    chunk = int(CHUNK_SECS * 16000)
    latencies: list[float] = []
    for first in range(0, len(samples) + chunk, chunk):
        start = time.perf_counter()
        is_last = first >= len(samples)
        found = recognizer.finish([stream]) if is_last else recognizer.step([(stream, samples[first : first + chunk])])
        ready = min(first + chunk, len(samples)) / 16000 + time.perf_counter() - start
        size = max(size, stream.num_bytes)
        for utterance in found[0]:
            words = [word.word for word in utterance.words]
            seen.append((ready, words))
            if utterance.is_final:
                for i, word in enumerate(utterance.words):
                    latencies.append(min(at for at, text in seen if text[: i + 1] == words[: i + 1]) - word.end)
                seen = []
    return latencies, size


def together(recognizer, sounds) -> float:
    """Processor time of recordings that are recognised in the same calls, by the length of the longest."""
    streams, chunk = [recognizer.open() for _ in sounds], int(CHUNK_SECS * 16000)
    length, start = max(map(len, sounds)), time.process_time()
    for first in range(0, length, chunk):
        going_on = [(s, x[first : first + chunk]) for s, x in zip(streams, sounds, strict=True) if first < len(x)]
        recognizer.step(going_on)
    recognizer.finish(streams)
    return (time.process_time() - start) * 16000 / (sum(map(len, sounds)) / len(sounds))


def random_run(tf, directory: str):
    """A run of the size of scripts/run_an4_ds2_stream_train.sh's, with random weights."""
    import numpy as np

    import models
    from models.config import ModelConfig
    from models.layers import Phase
    from utils.config import TrainConfig
    from utils.data.statistics import FeatureStatistics
    from utils.data.vocabulary import Vocabulary
    from utils.run_directory import Run, RunConfig
    from utils.train.checkpoint import Checkpoints, TrainState

    sizes = {'features': 40, 'classes': 29, 'conv_layers': 2, 'rnn_layers': 3, 'hidden_units': 256}
    config = ModelConfig('ds2', **sizes, activation='tanh', bidirectional=False)
    statistics = FeatureStatistics(np.full(40, 8, np.float32), np.full(40, 4, np.float32))
    run_config = RunConfig(config, TrainConfig(), 'fbank-40-0.02-0.01')
    run = Run.create(directory, run_config, Vocabulary.english(), statistics)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        models.get(config).forward(tf.zeros([1, 9, 40]), tf.constant([9]), config, Phase())
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():  # clear decisions, mostly blanks, as of a trained model
            if variable.op.name.startswith('output/'):
                scaled = 20 * variable if 'kernel' in variable.op.name else [0.0] * 28 + [3.0]
                session.run(variable.assign(scaled))
        name = Checkpoints(directory).save(session, tf.train.Saver(tf.global_variables()), TrainState(step=1))
        Checkpoints(directory).note_best(name, {'error': 1.0, 'dev_loss': 1.0})
    return run


if __name__ == '__main__':
    sys.exit(run_main(main))
