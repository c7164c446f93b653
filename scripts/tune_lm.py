"""Finds the weights of a language model for a run on a dev set; run_test.py and run_predict.py then take them."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, add_options, count  # noqa: E402
from utils.decode.options import HOTWORD_FLAGS, LAS_FLAGS, DecodingOptions, resolve_decoding  # noqa: E402
from utils.errors import run_main  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402

if TYPE_CHECKING:
    from utils.data.index import Index
    from utils.decode.tuning import Tuning
    from utils.run_directory import Run

log = logging.getLogger(__name__)

OUT_NAME = 'tune'  # in the run directory
FOUND_FLAGS = ('lm_weight', 'word_bonus', 'num_best', *HOTWORD_FLAGS)  # options of a search that are not flags here


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='tune_lm.py',
        description='Find lm_weight and word_bonus of a language model on a dev set: a grid of weights ranks the best '
        'texts of a beam search without language model (las: for several shares of the CTC head), then the dev set is '
        'decoded with the best weights and with those around. Prints all that it was decoded with, draws '
        'RUN/tune/LM.png, and keeps the best in RUN/decoding.json, from which run_test.py and run_predict.py take it. '
        "A dev set whose transcripts were in the language model's text makes it look better than it is, and its weight "
        'too large.',
    )
    add = parser.add_argument
    add('-s', '--savepath', required=True, metavar='RUN', help='run directory, written by run_train.py')
    add('-d', '--devfiles', nargs='+', required=True, metavar='INDEX', help='indexes, one or more')
    add('-b', '--batch_size', type=count, help='utterances per batch of the acoustic model (default: 16)')
    add('--posteriors', metavar='DIR', help='take what run_test.py --save_posteriors, or this script, wrote below this '
        'directory, such as RUN/tune (default: run the acoustic model and write RUN/tune)')  # fmt: skip
    names = (each.name for each in fields(DecodingOptions))
    add_options(parser, DecodingOptions, [name for name in names if name not in FOUND_FLAGS])
    args = parser.parse_args(argv)
    if not hasattr(args, 'lm'):
        parser.error('the following arguments are required: --lm')
    if args.posteriors and args.batch_size:
        parser.error('-b is for the model, which --posteriors does without; leave one of them out')
    args.batch_size = args.batch_size or 16
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.data.index import read_index
    from utils.data.transcripts import references
    from utils.decode.tuning import Point, tune
    from utils.lm.scorer import load_scorer
    from utils.metrics import score
    from utils.pack.archive import require_directory
    from utils.recognition.report import index_names
    from utils.run_directory import Run

    require_directory(args.savepath, 'what is found', 'tune in the run directory it was packed from, and pack it again')
    run = Run.open(args.savepath)
    options, vocabulary = resolve_decoding(args, run.config.model), run.vocabulary
    scorer = load_scorer(options.lm, vocabulary.tokens, options.lm_weight, options.word_bonus, options.lexicon)
    indexes = {name: read_index([path]) for name, path in zip(index_names(args.devfiles), args.devfiles, strict=True)}
    transcripts = [text for index in indexes.values() for text in references(index, vocabulary)]

    def scored(weights, ids):
        texts = [vocabulary.decode(each) for each in ids]
        return Point(weights, score(transcripts, texts, vocabulary.has_words), sum(not text for text in texts))

    decode = (model_decode if options.family == 'attention' else posteriors_decode)(args, run, options, indexes)
    fixed = [name for name in LAS_FLAGS if hasattr(args, name)]
    report(args, scorer.unit, tune(options, fixed, scorer, decode, scored), fixed)
    return 0


def model_decode(args: argparse.Namespace, run: 'Run', options: DecodingOptions, indexes: 'dict[str, Index]'):
    """Returns a function that decodes the indexes with a model with attention: (options, scorer) -> hypotheses."""
    import_tensorflow()
    from utils.decode.decoder import make_decoder
    from utils.recognition.recognizer import load_recognizer

    class Switch:
        """Lets one graph, which takes seconds to build, run one beam search after another; with none it is greedy."""

        search: Any = None

        def __bool__(self) -> bool:
            return self.search is not None

        def __getattr__(self, name: str) -> Any:
            return getattr(self.search, name)

    switch: Any = Switch()
    recognizer = load_recognizer(run, options.checkpoint, switch)
    references = [recognizer.prepare(index) for index in indexes.values()]

    def decode(options, scorer):
        switch.search = make_decoder(options, run.vocabulary.tokens, scorer)
        evaluations = (recognizer.evaluate(each, args.batch_size) for each in references)
        return [hypothesis for evaluation in evaluations for hypothesis in evaluation.hypotheses]

    return decode


def posteriors_decode(args: argparse.Namespace, run: 'Run', options: DecodingOptions, indexes: 'dict[str, Index]'):
    """As `model_decode`, from saved posteriors of a CTC model, which is run before if the flags name none."""
    from utils.decode.decoder import make_decoder
    from utils.recognition.posteriors import Posteriors, find_weights

    tokens, directory = run.vocabulary.tokens, Path(args.posteriors or Path(args.savepath) / OUT_NAME)
    if not args.posteriors:
        import_tensorflow()
        from utils.recognition.recognizer import load_recognizer

        greedy = make_decoder(DecodingOptions(), tokens, from_posteriors=True)
        recognizer = load_recognizer(run, options.checkpoint, greedy)
        for name, index in indexes.items():
            result = recognizer.evaluate(recognizer.prepare(index), args.batch_size, keep_posteriors=True)
            origin = tokens, run.path, options.checkpoint, recognizer.weights
            Posteriors.of(result.posteriors, index, *origin).save(directory / name)
    wanted = tokens, options.checkpoint, find_weights(run.path, options.checkpoint)
    saved = [Posteriors.open(directory / name, index, *wanted) for name, index in indexes.items()]

    def decode(options, scorer):
        decoder = make_decoder(options, tokens, scorer, from_posteriors=True)
        return [hypothesis for each in saved for hypothesis in each.decode(decoder)]

    return decode


def report(args: argparse.Namespace, unit: str, found: 'Tuning', fixed: Sequence[str]) -> None:
    """Prints and draws scores; writes the best weights, and for las the flags of its search, to the run directory."""
    from utils.decode.options import Tuned, lm_id, write_tuned
    from utils.decode.tuning import format_points, rank
    from utils.plots import draw_surface
    from utils.recognition.posteriors import find_weights

    options, lm, is_las = found.options, Path(args.lm), found.options.family == 'attention'
    scores = min(found.points, key=rank).scores
    has_words = scores.has_word_boundaries
    print(format_points(found.points))
    num_empty = sum(point.num_empty == point.scores.utterances for point in found.points)
    if num_empty:
        log.warning('%d of the %d pairs of weights left every text empty', num_empty, len(found.points))
    figure, rate_name = Path(args.savepath, OUT_NAME, f'{lm.name.split(".")[0]}.png'), 'WER' if has_words else 'CER'
    rates = [(*point.weights, point.scores.leading.rate) for point in sorted(found.points, key=rank)]
    draw_surface(rates, rate_name, f'{lm.name}, {scores.utterances} utterances', figure)
    flags = [*(['ctc_decode_weight'] if options.ctc_decode_weight else []), 'length_norm', *fixed] if is_las else []
    speller = {name: getattr(options, name) for name in flags}
    tuned = Tuned(
        lm=str(lm.absolute()), lm_id=lm_id(lm), unit=unit, lm_weight=options.lm_weight, word_bonus=options.word_bonus,
        lexicon=options.lexicon if options.lexicon in ('yes', 'no') else str(Path(options.lexicon).absolute()),
        beam_width=options.beam_width, checkpoint=options.checkpoint, dev=tuple(args.devfiles), speller=speller,
        wer=scores.words.rate if has_words else None, cer=scores.characters.rate,
        wer_without=found.greedy.words.rate if has_words else None, cer_without=found.greedy.characters.rate,
        weights=find_weights(args.savepath, options.checkpoint),
    )  # fmt: skip
    log.info('weights in %s, figure in %s', write_tuned(args.savepath, tuned), figure)
    without = f'greedy {rate_name} {100 * found.greedy.leading.rate:.2f} %'
    without += f', beam {100 * found.beam.leading.rate:.2f} %' if is_las else ''
    weights = {'lm_weight': tuned.lm_weight, 'word_bonus': tuned.word_bonus, **speller}
    values = ', '.join(f'{name} {value:g}' for name, value in weights.items())
    print(f'\n{without}; with {args.lm}: {100 * scores.leading.rate:.2f} % ({values})')


if __name__ == '__main__':
    sys.exit(run_main(main))
