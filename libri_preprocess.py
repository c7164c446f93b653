"""Preprocesses LibriSpeech: features and an index for training."""

import sys

from utils.data.preprocess_flags import PreprocessParser, add_alphabet_flags, add_copy_flags
from utils.errors import run_main

NAMES = ('dev-clean', 'dev-other', 'test-clean', 'test-other', 'train-clean-100', 'train-clean-360', 'train-other-500')


def main(argv: list[str] | None = None) -> int:
    parser = PreprocessParser(
        NAMES, 'test-clean', path_help='corpus directory, the one that holds train-clean-100/, ...',
        prog='libri_preprocess.py',
        description='Computes features of LibriSpeech, or a corpus laid out like it, and writes an index for training.',
    )  # fmt: skip
    add_alphabet_flags(parser)
    add_copy_flags(parser)
    args = parser.parse_args(argv)

    from utils.data.alphabet import Alphabet
    from utils.data.corpora import librispeech
    from utils.data.preprocess import Output, preprocess, read_corpus

    output = Output.from_flags(args)
    alphabet = Alphabet.from_flags(args)
    recordings, problems = read_corpus(librispeech, args.path, args.name)
    recordings, vocabulary = alphabet.apply(recordings, problems, has_report=False)
    preprocess(
        recordings, problems, vocabulary, output,
        vocabulary_path=alphabet.vocabulary_path, keeps_unknown=alphabet.keeps_unknown,
    )  # fmt: skip
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
