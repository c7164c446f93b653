"""Compares ways to combine CTC runs, from their saved posteriors of one index; prints a Markdown table of error rates.

    python run_test.py -s RUN -t dev.json --save_posteriors       # of each run
    python scripts/experiments/ensembles.py -d dev.json RUN RUN2 ...

Rows: every run and every set of runs. Columns: greedy decoding and a beam of 100 (single runs); the mean of the
posteriors of each frame, and of the log-probabilities of each text, both of probabilities and of logarithms; ROVER of
greedy texts. The last column is the cosine between the posteriors of the first two runs without the blank, 1 where
their peaks coincide.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from utils.data.index import read_index  # noqa: E402
from utils.data.transcripts import references  # noqa: E402
from utils.decode.ctc import ctc_log_prob  # noqa: E402
from utils.decode.ctc_beam import BeamOptions, decode, probabilities  # noqa: E402
from utils.decode.decoder import GreedyDecoder  # noqa: E402
from utils.decode.rover import candidates, rover  # noqa: E402
from utils.decode.text_mean import CANDIDATES  # noqa: E402
from utils.metrics import score  # noqa: E402
from utils.recognition.posteriors import Posteriors  # noqa: E402
from utils.recognition.report import index_names  # noqa: E402
from utils.run_directory import Run  # noqa: E402

COLUMNS = ('greedy', 'beam', 'frames, probabilities', 'frames, logarithms', 'texts, probabilities', 'texts, logarithms')
COLUMNS += ('ROVER', 'cosine')


def mean(values, of_logarithms: bool) -> np.ndarray:
    """Logarithm of the mean along the first axis, or the mean of logarithms."""
    return np.mean(values, axis=0) if of_logarithms else np.logaddexp.reduce(values, axis=0) - np.log(len(values))


def framewise(models, blank_id: int, of_logarithms: bool) -> list:
    """Greedy texts of the mean posteriors of each frame."""
    means = [mean(np.stack(each), of_logarithms) for each in zip(*models, strict=True)]
    return [each.ids for each in GreedyDecoder(blank_id).decode(means, list(map(len, means)))]


def textwise(models, found, blank_id: int, of_logarithms: bool) -> list:
    """The best of the candidates of all models by the mean of their log-probabilities in each."""
    best = []
    for posteriors, hypotheses in zip(zip(*models, strict=True), zip(*found, strict=True), strict=True):
        texts = sorted({each.ids for model in hypotheses for each in model})
        probs = [probabilities(each) for each in posteriors]
        scores = [[ctc_log_prob(each, np.array(ids, np.int64), blank_id) for ids in texts] for each in probs]
        best.append(texts[int(np.argmax(mean(np.array(scores), of_logarithms)))])
    return best


def cosine(one, other) -> float:
    """Cosine between the posteriors of two models without the blank."""
    one, other = (np.exp(np.concatenate(each)[:, :-1]) for each in (one, other))
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-d', '--index', required=True, metavar='INDEX', help='index whose posteriors are saved')
    parser.add_argument('runs', nargs='+', metavar='RUN', help='run directories of ds1 or ds2')
    args = parser.parse_args()
    index, (name,) = read_index([args.index]), index_names([args.index])
    vocabulary = Run.open(args.runs[0]).vocabulary
    blank_id, transcripts = len(vocabulary), references(index, vocabulary)
    space_id = vocabulary.tokens.index(' ') if vocabulary.has_space else None
    posteriors, beams, paths = {}, {}, {}
    for run in args.runs:
        saved = Posteriors.open(Path(run, 'test', name), index, vocabulary.tokens, 'best').utterances()
        posteriors[run] = [each.astype(np.float32) for each in saved]
        beams[run] = decode(posteriors[run], blank_id, BeamOptions(num_best=CANDIDATES))
        paths[run] = GreedyDecoder(blank_id).decode(posteriors[run], list(map(len, posteriors[run])))

    def rate(texts) -> str:
        texts = [vocabulary.decode(ids) for ids in texts]
        return f'{100 * score(transcripts, texts, vocabulary.has_words).leading.rate:.2f}'

    print(f'| runs | {" | ".join(COLUMNS)} |\n|{"---|" * (len(COLUMNS) + 1)}')
    for size in range(1, len(args.runs) + 1):
        for team in itertools.combinations(args.runs, size):
            names, models, found = ', '.join(Path(run).name for run in team), [posteriors[r] for r in team], []
            if size == 1:
                found = [rate([each.ids for each in paths[team[0]]]), rate([each[0].ids for each in beams[team[0]]])]
                cells = [*found, *[''] * 6]
            else:
                hypotheses = [beams[run] for run in team]
                cells = ['', '', *(rate(framewise(models, blank_id, each)) for each in (False, True))]
                cells += [rate(textwise(models, hypotheses, blank_id, each)) for each in (False, True)]
                words = zip(*([candidates(each, space_id) for each in paths[run]] for run in team), strict=True)
                cells += [rate([rover(each, space_id).ids for each in words]), f'{cosine(*models[:2]):.2f}']
            print(f'| {names} | {" | ".join(cells)} |', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
