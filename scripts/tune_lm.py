"""Finds the weights of a language model for a run on a dev set; run_test.py and run_predict.py then take them."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, count  # noqa: E402
from utils.decode.options import (  # noqa: E402
    DEFAULT_BEAM_WIDTH,
    SPELLER_BEAM_WIDTH,
    Decoding,
    add_spelling_flags,
    check_decoding_flags,
)
from utils.errors import run_main  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402

log = logging.getLogger(__name__)

OUT_NAME = 'tune'  # in the run directory


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='tune_lm.py',
        description='Find lm_weight and word_bonus of a language model on a dev set: the acoustic model runs once, its '
        'posteriors are decoded with a coarse grid of weights, then around the best (las: a grid of weights ranks its '
        'best texts for several shares of the CTC head, then it decodes with the best weights and those around). '
        'Prints all that was tried, draws RUN/tune/LM.png, and keeps the best in RUN/decoding.json. A dev set whose '
        "transcripts were in the language model's text makes it look better than it is, and its weight too large.",
    )
    add = parser.add_argument
    add('-s', '--savepath', required=True, metavar='RUN', help='run directory, written by run_train.py')
    add('-d', '--devfiles', nargs='+', required=True, metavar='INDEX', help='indexes, one or more')
    add('--lm', required=True, help='n-gram model of words or characters, ARPA format')
    add('--lexicon', default='no', metavar='{yes,no,WORDS}', help='the words that may be found; see run_test.py -h')
    add(
        '--beam_width',
        type=count,
        help=f'prefixes kept in the beam search (default: {DEFAULT_BEAM_WIDTH}; las: {SPELLER_BEAM_WIDTH})',
    )
    add('--checkpoint', choices=('best', 'latest', 'average'), default='best', help='which of the run')
    add('-b', '--batch_size', type=count, default=16, help='utterances at once in the acoustic model')
    add(
        '--posteriors',
        metavar='DIR',
        help='take what run_test.py --save_posteriors, or this script, wrote below this directory, '
        'such as RUN/tune (default: run the acoustic model and write RUN/tune)',
    )
    add_spelling_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index
    from utils.data.transcripts import references
    from utils.lm.scorer import load_scorer
    from utils.recognition.posteriors import Posteriors
    from utils.recognition.report import index_names
    from utils.run_directory import Run

    run = Run.open(args.savepath)
    is_speller, vocabulary = run.config.model.family == 'attention', run.vocabulary
    check_decoding_flags(args, run.config.model.family)
    args.beam_width = args.beam_width or (SPELLER_BEAM_WIDTH if is_speller else DEFAULT_BEAM_WIDTH)
    decoding = Decoding(args.beam_width, args.lm, lexicon=args.lexicon)
    fusion = load_scorer(args.lm, vocabulary.tokens, decoding.lm_weight, decoding.word_bonus, decoding.lexicon)
    names, indexes = index_names(args.devfiles), [read_index([path]) for path in args.devfiles]
    if is_speller:
        found = tune_speller(args, run, indexes, fusion, decoding)
        report(args, fusion, found.points, found.greedy, found.flags, found.beam)
        return 0
    directory = Path(args.posteriors or Path(args.savepath) / OUT_NAME)
    if not args.posteriors:
        run_acoustic_model(args, run, names, indexes, directory)
    utterances, transcripts = [], []
    for name, index in zip(names, indexes, strict=True):
        saved = Posteriors.open(directory / name, index, vocabulary.tokens, args.checkpoint)
        utterances += [each.astype('float32') for each in saved.utterances()]
        transcripts += references(index, vocabulary)
    points, without = tune(utterances, transcripts, vocabulary, fusion, decoding)
    report(args, fusion, points, without)
    return 0


def run_acoustic_model(args: argparse.Namespace, run, names: Sequence[str], indexes: Sequence, directory: Path) -> None:
    """Writes the posteriors of each index below ``directory``."""
    from utils.decode.decoder import make_decoder
    from utils.recognition.posteriors import Posteriors

    import_tensorflow()
    from utils.recognition.recognizer import load_recognizer

    tokens = run.vocabulary.tokens
    recognizer = load_recognizer(run, args.checkpoint, make_decoder(None, tokens, from_posteriors=True))
    for name, index in zip(names, indexes, strict=True):
        result = recognizer.evaluate(recognizer.prepare(index), args.batch_size, keep_posteriors=True)
        origin = tokens, run.path, args.checkpoint, recognizer.weights
        Posteriors.of(result.posteriors, index, *origin).save(directory / name)


def tune(utterances: Sequence, transcripts: Sequence[str], vocabulary, fusion, decoding: Decoding):
    """Decodes with one pair of weights after another, on all cores.

    Returns:
      What each pair scored, and what greedy decoding does.
    """
    from tqdm import tqdm

    from utils.decode.ctc_beam import BeamOptions, decode_utterances
    from utils.decode.decoder import make_decoder
    from utils.decode.tuning import Point, search
    from utils.lm.scorer import CHAR, with_weights
    from utils.metrics import score

    def scored(hypotheses):
        texts = [vocabulary.decode(hypothesis.ids) for hypothesis in hypotheses]
        return score(transcripts, texts, vocabulary.has_words), sum(not text for text in texts)

    def evaluate(weights):
        options = BeamOptions(beam_width=decoding.beam_width)
        results = decode_utterances(utterances, len(vocabulary), options, with_weights(fusion, weights))
        return Point(weights, *scored([hypotheses[0] for hypotheses in results]))

    greedy = make_decoder(None, vocabulary.tokens, from_posteriors=True)
    without, _ = scored(greedy(utterances, [len(utterance) for utterance in utterances]))
    unit = 'char' if fusion.mode == CHAR else 'word'
    return list(tqdm(search(evaluate, unit), desc='decoding', unit=' weights', disable=None)), without


def tune_speller(args: argparse.Namespace, run, indexes: Sequence, fusion, decoding: Decoding):
    """Decodes with a speller; returns a `tuning.Tuning`."""
    from tqdm import tqdm

    from utils.decode.decoder import make_spelling_decoder
    from utils.decode.options import SPELLING_FLAGS
    from utils.decode.tuning import SpellerTuner

    import_tensorflow()
    from utils.recognition.recognizer import load_recognizer

    tokens, has_ctc_head = run.vocabulary.tokens, bool(run.config.model.ctc_weight)
    return SpellerTuner(
        run,
        lambda decoder: load_recognizer(run, args.checkpoint, decoder),
        indexes,
        args.batch_size,
        lambda decoding: make_spelling_decoder(args, decoding, tokens, has_ctc_head) if decoding else None,
        {name: getattr(args, name) for name in SPELLING_FLAGS if getattr(args, name) is not None},
        fusion,
        lambda things, what, unit: tqdm(things, desc=what, unit=unit, disable=None),
    ).tune(decoding)


def report(args: argparse.Namespace, fusion, points: Sequence, without, speller=None, beam=None) -> None:
    """Prints and draws what was tried; keeps the best in the run directory.

    Of a speller, the flags of its search are kept too, and what its beam does without language model is printed.
    """
    from utils.decode.options import Tuned, lm_id, write_tuned
    from utils.decode.tuning import format_points, rank
    from utils.lm.scorer import CHAR
    from utils.plots import draw_surface

    best = min(points, key=rank)
    scores, has_words = best.scores, best.scores.has_word_boundaries
    print(format_points(points))
    num_empty = sum(point.num_empty == point.scores.utterances for point in points)
    if num_empty:
        log.warning('%d of the %d pairs of weights left every text empty', num_empty, len(points))
    drawing = Path(args.savepath) / OUT_NAME / f'{Path(args.lm).name.split(".")[0]}.png'
    rates = [(*point.weights, point.scores.leading.rate) for point in sorted(points, key=rank)]
    rate_name = 'WER' if has_words else 'CER'
    draw_surface(rates, rate_name, f'{Path(args.lm).name}, {scores.utterances} utterances', drawing)
    found = Tuned(
        lm=str(Path(args.lm).absolute()),
        lm_id=lm_id(args.lm),
        unit='char' if fusion.mode == CHAR else 'word',
        lm_weight=best.weights.lm_weight,
        word_bonus=best.weights.word_bonus,
        beam_width=args.beam_width,
        lexicon=args.lexicon if args.lexicon in ('yes', 'no') else str(Path(args.lexicon).absolute()),
        checkpoint=args.checkpoint,
        dev=tuple(args.devfiles),
        wer=scores.words.rate if has_words else None,
        cer=scores.characters.rate,
        wer_without=without.words.rate if has_words else None,
        cer_without=without.characters.rate,
        speller=speller or {},
    )
    log.info('weights in %s, figure in %s', write_tuned(args.savepath, found), drawing)
    weights = {'lm_weight': found.lm_weight, 'word_bonus': found.word_bonus, **found.speller}
    rates = [f'greedy {rate_name} {100 * without.leading.rate:.2f} %']
    rates += [f'beam {100 * beam.leading.rate:.2f} %'] if beam else []
    print(f'\n{", ".join(rates)}; with {args.lm}: {100 * scores.leading.rate:.2f} % '
          f'({", ".join(f"{name} {value:g}" for name, value in weights.items())})')  # fmt: skip


if __name__ == '__main__':
    sys.exit(run_main(main))
