"""Exports on recordings with transcripts, against the recognition here: texts, posteriors, size, WER, speed.

Each export runs in a process of its own without this project on its path. The real-time factor is processor time on one
core by the length of the audio.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import ROOT, import_tensorflow, machine

from utils.cli import Parser, count
from utils.errors import DataError, run_main

FORMS = {
    'SavedModel': ('saved', []),
    'TFLite float32': ('whole', ['--format', 'tflite']),
    'TFLite int8': ('whole8', ['--format', 'tflite', '--quantize', 'int8']),
    'TFLite float32, chunks': ('chunks', ['--format', 'tflite', '--stream']),
    'TFLite int8, chunks': ('chunks8', ['--format', 'tflite', '--quantize', 'int8', '--stream']),
}
EXPORTING = """
import sys
from scripts.export import main
from utils.errors import run_main
sys.exit(max(run_main(lambda: main(line.split('\\t'))) for line in sys.argv[1:]))
"""
# in a process without this project: outputs and text of each recording, and processor time by the length of the audio
CALLING = """
import os, runpy, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
if sys.argv[1] == 'saved':
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
sounds = np.load('sounds.npz')
def recognize(example, sound):
    if 'recognize' in example:
        outputs = example['recognize']([sound])
        (length,) = outputs.get('frame_lengths', outputs.get('symbol_lengths'))
        return outputs['log_probs'][0, :length], outputs['text'][0].decode()
    rows = example['log_probs'](sound)
    return rows, example['best_path'](rows)
for model in sys.argv[1:]:
    example = runpy.run_path(f'{model}/example.py', run_name='example')
    recognize(example, sounds[sounds.files[0]])
    start, secs, found = time.process_time(), 0, {}
    for name in sounds.files:
        found[name], found[f'text/{name}'] = recognize(example, sounds[name])
        secs += len(sounds[name]) / 16000
    np.savez(f'{model}.npz', factor=(time.process_time() - start) / secs, **found)
assert not {'utils', 'models'} & set(sys.modules)
"""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog='export.py', description=__doc__.split('\n\n')[0])
    parser.add_argument('-s', '--savepath', required=True, metavar='RUN', help='run directory')
    parser.add_argument('-d', '--devfiles', required=True, metavar='INDEX', help='index with the transcripts')
    default = os.environ.get('AN4') or str(Path.home() / 'corpus/an4')
    parser.add_argument('--audio', default=f'{default}/dev-clean', metavar='DIR', help='recordings of the index')
    parser.add_argument('--files', type=count, default=10**6, help='number of recordings')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import_tensorflow()
    import numpy as np

    from utils.audio.reader import read_audio
    from utils.data.index import read_index
    from utils.metrics import score
    from utils.run_directory import Run

    run, index = Run.open(args.savepath), read_index([args.devfiles])
    paths = {path.stem: path for path in sorted(Path(args.audio).rglob('*.flac'))}
    rows = [row for row in range(len(index)) if index.utterance_id(row) in paths][: args.files]
    if not rows:
        raise DataError(f'{args.audio}: no FLAC of the utterances of {args.devfiles} below it; name it with --audio')
    names = [index.utterance_id(row) for row in rows]
    references = [run.vocabulary.normalise(index.texts[row]) for row in rows]
    sounds = {name: read_audio(str(paths[name])) for name in names}
    own = recognized(run, list(sounds.values()))

    def rate(texts):
        return 100 * score(references, texts).words.rate

    secs = sum(map(len, sounds.values())) / 16000
    print(f'{machine()}; one core, which other work may share; {args.savepath}, {len(rows)} recordings, {secs:.0f} s\n')
    print('| form | size | texts equal | largest difference of log-probabilities | WER | real-time factor |')
    print(f'|---|---|---|---|---|---|\n| recognition here, greedy | | | | {rate([text for text, _ in own]):.2f} % | |')
    forms = {form: names for form, names in FORMS.items() if is_possible(run.config.model, names[1])}
    with tempfile.TemporaryDirectory() as directory:
        np.savez(f'{directory}/sounds.npz', **sounds)
        run_exports(args.savepath, directory, list(forms.values()))
        for form, (name, _) in forms.items():
            found, size = dict(np.load(f'{directory}/{name}.npz')), num_bytes(Path(directory) / name)
            texts = [str(found[f'text/{name}']) for name in names]
            equal = sum(one == other for one, (other, _) in zip(texts, own, strict=True))
            pairs = zip((found[name] for name in names), (rows for _, rows in own), strict=True)
            worst = max(difference(one, other) for one, other in pairs)
            print(f'| {form} | {size / 1e6:.2f} MB | {equal}/{len(rows)} | {worst:.2g} | {rate(texts):.2f} % | '
                  f'{float(found["factor"]):.3f} |', flush=True)  # fmt: skip
    return 0


def is_possible(model, flags: list[str]) -> bool:
    """Whether a model has the form that these flags ask for."""
    return not (model.family == 'attention' and flags) and not ('--stream' in flags and model.bidirectional)


def difference(one, other) -> float:
    """Largest absolute difference of two arrays, infinite for other shapes."""
    return float(abs(one - other).max(initial=0)) if one.shape == other.shape else float('inf')


def recognized(run, sounds) -> list[tuple]:
    """Text and log-probabilities of each recording, recognised greedily: `[frames, classes]`, for las `[symbols]`."""
    import numpy as np

    from utils.data.features import extract
    from utils.decode.greedy import best_paths
    from utils.recognition.alignment import PosteriorKeeper
    from utils.recognition.recognizer import load_recognizer

    if run.config.model.family == 'attention':
        recognizer = load_recognizer(run)
        hypotheses = recognizer.recognize([extract(samples, recognizer.spec) for samples in sounds], 8)
        values = [np.array([span.log_prob for span in each.frames], np.float32) for each in hypotheses]
    else:
        recognizer = load_recognizer(run, decoder=PosteriorKeeper())
        values = recognizer.recognize([extract(samples, recognizer.spec) for samples in sounds], 8)
        hypotheses = [best_paths(each.argmax(1)[None], each.max(1)[None], [len(each)], run.config.model.classes - 1)[0]
                      for each in values]  # fmt: skip
    texts = [' '.join(run.vocabulary.decode(each.ids).split()) for each in hypotheses]
    return list(zip(texts, values, strict=True))


def run_exports(run_dir: str, directory: str, forms: list[tuple[str, list[str]]]) -> None:
    """Writes exports into a directory, and beside each what a process without this project computes with it."""
    lines = ['\t'.join(['-s', os.path.abspath(run_dir), f'{directory}/{name}', *flags]) for name, flags in forms]
    subprocess.run([sys.executable, '-c', EXPORTING, *lines], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    for names in (['saved'], [name for name, _ in forms if name != 'saved']):
        if names:
            line = [sys.executable, '-I', '-c', CALLING, *names]
            subprocess.run(line, check=True, cwd=directory, stderr=subprocess.DEVNULL)


def num_bytes(directory: Path) -> int:
    """Size of the model in an export."""
    others = 'example.py', 'README.md', 'vocab.txt'
    return sum(path.stat().st_size for path in directory.rglob('*') if path.is_file() and path.name not in others)


if __name__ == '__main__':
    sys.exit(run_main(main))
