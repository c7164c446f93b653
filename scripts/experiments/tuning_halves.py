"""Compares the rules of tune_lm.py: tunes on one half of the dev set's speakers, scores the other half, both ways.

    python scripts/experiments/tuning_halves.py -s RUN -d dev.json --lm LM... [FLAG...]

The flags are those of tune_lm.py. For each language model and rule, prints a line of a Markdown table: the error rate
with weights tuned on all speakers, that of the halves under the weights of the other half, both with 95 % intervals,
and the weights of each half. `--splits N` repeats it with N random halves, and then gives means. `--rank` ranks n-best
lists instead of decoding with each pair of weights, which takes las hours.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from scripts.tune_lm import describe, make_tuner  # noqa: E402
from scripts.tune_lm import parse_args as parse_tuning  # noqa: E402
from utils.decode.options import BEST, ONE_SE  # noqa: E402
from utils.decode.points import ERRORS, LENGTH, format_interval, interval, rate, split_groups  # noqa: E402
from utils.decode.tuning import reranking  # noqa: E402
from utils.errors import run_main  # noqa: E402
from utils.lm.scorer import Weights  # noqa: E402


def halves(groups: np.ndarray, lengths: np.ndarray, number: int) -> list[list[np.ndarray]]:
    """The split by size, then random ones of the speakers."""
    found, rng = [split_groups(groups, lengths, 2)], np.random.default_rng(1)
    names = np.unique(groups)
    for _ in range(number - 1):
        first = np.isin(groups, rng.choice(names, len(names) // 2, replace=False))
        found.append([np.flatnonzero(first), np.flatnonzero(~first)])
    return found


class Ranker:
    """Replaces decodings with a language model by the ranking of n-best lists without one."""

    def __init__(self, decode):
        self._decode, self._lists, self._rankings = decode, {}, {}

    def __call__(self, options, scorer):
        if scorer is None:
            key = options.beam_width and (options.ctc_decode_weight, options.ilm_weight)
            if key not in self._lists:
                self._lists[key] = self._decode(options, None), options.length_norm
            return self._lists[key][0]
        key = options.ctc_decode_weight, options.ilm_weight, options.length_norm
        if key not in self._rankings:
            hypotheses, power = self._lists[key[:2]]
            powers = (power, options.length_norm) if options.family == 'attention' else (0.0, 0.0)
            self._rankings[key] = hypotheses, reranking(hypotheses, scorer, *powers)
        hypotheses, best_texts = self._rankings[key]
        found = zip(hypotheses, best_texts(Weights(scorer.lm_weight, scorer.word_bonus)), strict=True)
        return [dataclasses.replace(each, ids=ids) for each, ids in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-s', '--savepath', required=True, metavar='RUN', help='run directory')
    parser.add_argument('-d', '--devfiles', required=True, nargs='+', metavar='INDEX', help='indexes of the dev set')
    parser.add_argument('--lm', required=True, nargs='+', metavar='LM', help='language models, ARPA format')
    parser.add_argument('--splits', type=int, default=1, metavar='N', help='different halves (default: 1)')
    parser.add_argument('--rank', action='store_true', help='rank n-best lists, and do not decode again')
    args, flags = parser.parse_known_args()
    print('| run | language model | rule | tuned on all | tuned on the other half | weights of the first halves |')
    print('|---|---|---|---|---|---|')
    for lm in args.lm:
        tuner, fixed = make_tuner(parse_tuning(['-s', args.savepath, '-d', *args.devfiles, '--lm', lm, *flags]))
        tuner.decode = Ranker(tuner.decode) if args.rank else tuner.decode
        for tuner.rule in (BEST, ONE_SE):
            found = tuner.tune()
            splits = halves(tuner.groups, found.greedy[:, LENGTH], args.splits)
            counts, options = zip(*(tuner.cross_validate(each) for each in splits), strict=True)
            mean = np.mean([rate(each, ERRORS) for each in counts])
            cells = [Path(args.savepath).name, Path(lm).stem, tuner.rule]
            for value, each in ((rate(found.chosen.counts, ERRORS), found.chosen.counts), (mean, counts[0])):
                cells.append(f'{100 * value:.2f} % ({format_interval(interval(each, tuner.groups))})')
            cells.append('; '.join(describe(each, fixed) for each in options[0]))
            print(f'| {" | ".join(cells)} |', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
