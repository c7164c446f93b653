"""Preprocesses LibriSpeech: features and an index for training."""

import os
import sys

from utils.data.preprocess_flags import PreprocessParser
from utils.errors import run_main

NAMES = ('dev-clean', 'dev-other', 'test-clean', 'test-other', 'train-clean-100', 'train-clean-360', 'train-other-500')


def main(argv: list[str] | None = None) -> int:
    args = PreprocessParser(
        NAMES,
        'test-clean',
        path_help='corpus directory, the one that holds train-clean-100/, ...',
        prog='libri_preprocess.py',
        description='Computes features of LibriSpeech, or a corpus laid out like it, and writes an index for training.',
    ).parse_args(argv)

    from utils.data.corpora import librispeech
    from utils.data.features import DEFAULT_FEATLEN, FeatureSpec
    from utils.data.preprocess import preprocess, read_corpus
    from utils.data.vocabulary import Vocabulary

    spec = FeatureSpec(args.mode, args.featlen or DEFAULT_FEATLEN[args.mode], args.winlen, args.winstep)
    recordings, problems = read_corpus(librispeech, args.path, args.name)
    preprocess(
        recordings,
        problems,
        Vocabulary.english(),
        spec,
        os.path.join(args.save, str(spec)),
        args.jsonfile,
        ratio=args.split,
        num_jobs=args.jobs,
    )
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
