"""Preprocesses THCHS-30: features, an index for training and a vocabulary."""

import sys

from utils.data.preprocess_flags import PreprocessParser, add_copy_flags
from utils.errors import run_main


def _parser() -> PreprocessParser:
    parser = PreprocessParser(
        ('train', 'dev', 'test'),
        'test',
        path_help='corpus directory, data_thchs30: the one that holds data/, train/, dev/ and test/',
        prog='thchs_preprocess.py',
        description='Computes features of THCHS-30 and writes an index for training, and the vocabulary of the '
        'transcripts beside it as STEM.vocab.txt for a JSONFILE of STEM.json. Train with the vocabulary of -n train.',
    )
    parser.add_argument(
        '--unit', choices=('char', 'pinyin', 'phone'), default='char', help='line of the transcripts to use'
    )
    parser.add_argument(
        '--vocabfile',
        help='vocabulary of `label`; no vocabulary is written then. Utterances with units outside it are left out of '
        'train; in dev and test they stay and count as errors (default: vocabulary of the transcripts read)',
    )
    add_copy_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)

    from functools import partial

    from utils.data.corpora import thchs30
    from utils.data.preprocess import Output, preprocess, read_corpus
    from utils.data.vocabulary import Vocabulary

    output = Output.from_flags(args, args.unit)
    given_vocabulary = Vocabulary.read(args.vocabfile) if args.vocabfile else None
    recordings, problems = read_corpus(partial(thchs30, unit=args.unit), args.path, args.name)
    vocabulary = given_vocabulary or Vocabulary.from_transcripts([each.text for each in recordings], args.unit)
    preprocess(
        recordings,
        problems,
        vocabulary,
        output,
        keeps_unknown='train' not in args.name,
        vocabulary_path=None if given_vocabulary else f'{args.jsonfile.removesuffix(".json")}.vocab.txt',
    )
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
