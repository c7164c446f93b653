"""Live recognition beside recognition of whole recordings: equal texts, and the largest difference of log-posteriors.

The recordings (AN4's dev set by default) come in chunks of 10 ms, 100 ms, 1 s and of random lengths up to 1 s.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from measuring import import_tensorflow

from utils.cli import Parser, count
from utils.errors import DataError, run_main

RATE = 16000
SIZES: dict[str, Callable[[np.random.Generator], int]] = {
    '10 ms': lambda rng: RATE // 100,
    '100 ms': lambda rng: RATE // 10,
    '1 s': lambda rng: RATE,
    'random': lambda rng: int(rng.integers(1, RATE)),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog='streaming_equality.py', description=__doc__.split('\n\n')[0])
    parser.add_argument('-s', '--savepath', required=True, metavar='RUN', help='run of a ds2 of one direction')
    default = os.environ.get('AN4') or str(Path.home() / 'corpus/an4')
    parser.add_argument('--audio', default=f'{default}/dev-clean', metavar='DIR', help='recordings')
    parser.add_argument('--files', type=count, default=1000, help='number of recordings, at most')
    parser.add_argument('--lm', metavar='ARPA', help='language model of the beam search of 100')
    return parser.parse_args(argv)


class Kept:
    """A decoder that keeps the posteriors it gets."""

    def __init__(self, decoder):
        self.decoder, self.log_probs = decoder, []

    def decode(self, log_probs, lengths):
        self.log_probs += [rows[:length] for rows, length in zip(log_probs, lengths, strict=True)]
        return self.decoder.decode(log_probs, lengths)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import_tensorflow()
    from utils.audio.reader import read_audio
    from utils.data.features import extract
    from utils.decode.ctc_beam import BeamOptions
    from utils.decode.decoder import BeamDecoder, GreedyDecoder
    from utils.lm.scorer import load_scorer
    from utils.recognition.recognizer import StreamingModel, load_recognizer
    from utils.recognition.streaming import StreamingRecognizer
    from utils.run_directory import Run

    paths = sorted(Path(args.audio).rglob('*.flac'))[: args.files]
    if not paths:
        raise DataError(f'{args.audio}: no FLAC below it; name recordings with --audio')
    sounds = [read_audio(str(path)) for path in paths]
    run = Run.open(args.savepath)
    model, blank_id = StreamingModel(run), run.config.model.classes - 1
    scorer = load_scorer(args.lm, run.vocabulary.tokens, 1.0, 1.0) if args.lm else None
    beam = BeamDecoder(blank_id, BeamOptions(), scorer)
    print(f'| decoding | chunks | equal texts of {len(sounds)} | largest difference of log-posteriors |')
    print('|---|---|---|---|')
    for name, decoder in (('greedy', None), ('beam of 100' + (', language model' if scorer else ''), beam)):
        keep = Kept(decoder or GreedyDecoder(blank_id))
        offline = load_recognizer(run, decoder=keep)  # type: ignore[arg-type]
        wholes = [offline.recognize([extract(samples, offline.spec)], 1)[0] for samples in sounds]
        texts = [' '.join(run.vocabulary.decode(each.ids).split()) for each in wholes]
        for size_name, size in SIZES.items():
            recognizer = StreamingRecognizer(model, decoder, endpoint_ms=0)
            rng, num_equal, difference = np.random.default_rng(1), 0, 0.0
            for samples, text, whole in zip(sounds, texts, keep.log_probs, strict=True):
                live, log_probs = recognize(recognizer, chunks(samples, size, rng))
                num_equal += live == text
                difference = max(difference, float(np.abs(log_probs - whole).max()))
            print(f'| {name} | {size_name} | {num_equal} | {difference:.1e} |', flush=True)
    return 0


def chunks(samples: np.ndarray, size: Callable[[np.random.Generator], int], rng) -> Iterator[np.ndarray]:
    start = 0
    while start < len(samples):
        stop = start + size(rng)
        yield samples[start:stop]
        start = stop


def recognize(recognizer, pieces: Iterator[np.ndarray]) -> tuple[str, np.ndarray]:
    """Text of a recording, and its log-posteriors `[frames, classes]`."""
    stream, rows, texts = recognizer.open(), [], []
    add = stream.decoder.add  # with endpoint_ms=0 the stream keeps one decoder

    def keep(log_probs):
        rows.append(log_probs)
        add(log_probs)

    stream.decoder.add = keep
    for samples in pieces:
        texts += recognizer.step([(stream, samples)])[0]
    texts += recognizer.finish([stream])[0]
    return ' '.join(each.text for each in texts if each.is_final), np.concatenate(rows)


if __name__ == '__main__':
    sys.exit(run_main(main))
