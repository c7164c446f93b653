"""Preprocesses your own recordings, as a manifest lists them: features and an index for training."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.data.preprocess_flags import PreprocessParser, add_alphabet_flags, add_copy_flags  # noqa: E402
from utils.errors import run_main  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    parser = PreprocessParser(
        (), '', path_name='manifest', prog='manifest_preprocess.py',
        path_help='CSV or TSV with a header, JSON Lines, metadata.csv of LJSpeech, lines of path, tab, text, or a '
        'Kaldi data directory; the format is recognised',
        description='Computes features of the recordings that a manifest lists, and writes an index for training.',
    )  # fmt: skip
    add = parser.group('manifest').add_argument
    add('--audio_column', metavar='NAME', help='column or JSON key of the audio paths (default: a known name)')
    add('--text_column', metavar='NAME', help='column or JSON key of the transcripts (default: a known name)')
    add(
        '--audio_root', metavar='DIR',
        help="directory that audio paths are relative to (default: the manifest's, clips/ or wavs/ in it, or its "
        'parent, whichever has the files)',
    )  # fmt: skip
    add_alphabet_flags(parser, punctuation='drop')
    add_copy_flags(parser)
    args = parser.parse_args(argv)

    from utils.data.alphabet import Alphabet
    from utils.data.manifests import read_manifest
    from utils.data.preprocess import Output, check_not_empty, preprocess

    output = Output.from_flags(args)
    alphabet = Alphabet.from_flags(args)
    recordings, problems, description = read_manifest(
        args.manifest, args.audio_column, args.text_column, args.audio_root
    )
    print(description)
    check_not_empty(recordings, problems, f'{args.manifest}: no recording with a transcript is found')
    recordings, vocabulary = alphabet.apply(recordings, problems)
    preprocess(
        recordings, problems, vocabulary, output,
        vocabulary_path=alphabet.vocabulary_path, keeps_unknown=alphabet.keeps_unknown,
    )  # fmt: skip
    return 0


if __name__ == '__main__':
    sys.exit(run_main(main))
