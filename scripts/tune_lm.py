"""Finds the weights of a language model for a run on a dev set; run_test.py and run_predict.py then take them."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.cli import Parser, add_options, count, number  # noqa: E402
from utils.decode.options import (  # noqa: E402
    BEST,
    HOTWORD_FLAGS,
    LAS_FLAGS,
    ONE_SE,
    DecodingOptions,
    resolve_decoding,
)
from utils.errors import UsageError, run_main  # noqa: E402
from utils.system import import_tensorflow  # noqa: E402

if TYPE_CHECKING:
    from utils.data.index import Index
    from utils.decode.tuning import Tuner, Tuning
    from utils.run_directory import Run

log = logging.getLogger(__name__)

OUT_NAME = 'tune'  # in the run directory
RULE = ONE_SE
FOUND_FLAGS = ('lm_weight', 'word_bonus', 'num_best', *HOTWORD_FLAGS)  # options of a search that are not flags here


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='tune_lm.py',
        description='Find lm_weight and word_bonus of a language model on a dev set: a grid of weights ranks the best '
        'texts of a beam search without language model (las: for several shares of the CTC head), then the dev set is '
        'decoded with the best weights and with those around. Prints all that it was decoded with, with 95 % intervals '
        '(bootstrap over speakers, or utterances where fewer than five speakers are known), draws RUN/tune/LM.png, and '
        'keeps the weights that --rule takes in RUN/decoding.json, where run_test.py and run_predict.py find them. '
        "A dev set whose transcripts were in the language model's text makes it look better than it is, and its weight "
        'too large.',
    )
    add = parser.add_argument
    add('-s', '--savepath', required=True, metavar='RUN', help='run directory, written by run_train.py')
    add('-d', '--devfiles', nargs='+', required=True, metavar='INDEX', help='indexes, one or more')
    add('-b', '--batch_size', type=count, help='utterances per batch of the acoustic model (default: 16)')
    add('--posteriors', metavar='DIR', help='take what run_test.py --save_posteriors, or this script, wrote below this '
        'directory, such as RUN/tune (default: run the acoustic model and write RUN/tune)')  # fmt: skip
    add('--rule', choices=(BEST, ONE_SE), default=RULE, help='weights to keep: best: those with the fewest errors; '
        'one_se: the plainest whose error rate is within one standard error of that')  # fmt: skip
    add('--folds', type=number(int, 2), metavar='N', help='cross-validate as well: tune on the speakers of all but one '
        'of N parts and score that one, which is an honest estimate of the error rate (default: not)')  # fmt: skip
    add('--tune_ilm', action='store_true', help='las: find --ilm_weight, too, three times as many searches')
    names = (each.name for each in fields(DecodingOptions))
    add_options(parser, DecodingOptions, [name for name in names if name not in FOUND_FLAGS])
    args = parser.parse_args(argv)
    if not hasattr(args, 'lm'):
        parser.error('the following arguments are required: --lm')
    if args.posteriors and args.batch_size:
        parser.error('-b is for the model, which --posteriors does without; leave one of them out')
    args.batch_size = args.batch_size or 16
    return args


def make_tuner(args: argparse.Namespace) -> 'tuple[Tuner, list[str]]':
    """The tuner of a run on the indexes, and the names of the flags of las that are fixed."""
    from utils.data.index import read_index
    from utils.data.sources import read_sources
    from utils.data.transcripts import references
    from utils.decode.points import TextCounter, group_by_speaker
    from utils.decode.tuning import Tuner
    from utils.lm.scorer import load_scorer
    from utils.recognition.report import index_names
    from utils.run_directory import Run

    run = Run.open(args.savepath)
    options, vocabulary = resolve_decoding(args, run.config.model), run.vocabulary
    scorer = load_scorer(options.lm, vocabulary.tokens, options.lm_weight, options.word_bonus, options.lexicon)
    indexes = {name: read_index([path]) for name, path in zip(index_names(args.devfiles), args.devfiles, strict=True)}
    transcripts = [text for index in indexes.values() for text in references(index, vocabulary)]
    groups = group_by_speaker([each.speaker for index in indexes.values() for each in read_sources(index)])
    num_groups = len(set(groups.tolist()))
    if args.folds and args.folds > num_groups:
        what = 'utterances' if num_groups == len(groups) else 'speakers'
        raise UsageError(f'--folds {args.folds}: the dev set has {num_groups} {what}; give at most that')
    fixed = [name for name in LAS_FLAGS if hasattr(args, name)]
    if args.tune_ilm and (options.family != 'attention' or 'ilm_weight' in fixed):
        raise UsageError('--tune_ilm is for las, and without --ilm_weight; leave one of them out')
    decode = (model_decode if options.family == 'attention' else posteriors_decode)(args, run, options, indexes)
    count = TextCounter(transcripts, vocabulary.decode, vocabulary.has_words)
    tuner = Tuner(options, fixed, scorer, decode, count, groups, args.rule, args.tune_ilm)
    return tuner, fixed + ['ilm_weight'] * args.tune_ilm


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from utils.pack.archive import require_directory

    require_directory(args.savepath, 'the result', 'tune the run, then pack it again')
    tuner, fixed = make_tuner(args)
    found, validated = tuner.tune(), None
    if args.folds:
        validated, of_folds = tuner.cross_validate(tuner.folds(args.folds))
        for number, each in enumerate(of_folds, 1):
            log.info('without part %d: %s', number, describe(each, fixed))
    report(args, tuner, found, fixed, validated)
    return 0


def model_decode(args: argparse.Namespace, run: 'Run', options: DecodingOptions, indexes: 'dict[str, Index]'):
    """Returns a function that decodes the indexes with a model with attention: (options, scorer) -> hypotheses."""
    import_tensorflow()
    from utils.decode.decoder import make_decoder
    from utils.recognition.recognizer import load_recognizer

    class Switch:
        """Lets one graph, which takes seconds to build, run one beam search after another; with none it is greedy."""

        search: Any = None
        uses_ilm = args.tune_ilm or options.ilm_weight > 0

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


def search_flags(options: DecodingOptions, fixed: Sequence[str]) -> dict[str, float]:
    """Options of the beam search of las that belong to tuned weights, by name; none for a CTC model."""
    names = ['ctc_decode_weight'] if options.ctc_decode_weight else []
    return {name: getattr(options, name) for name in (*names, 'length_norm', *fixed) if options.family == 'attention'}


def describe(options: DecodingOptions, fixed: Sequence[str]) -> str:
    """Tuned values as text."""
    weights = {'lm_weight': options.lm_weight, 'word_bonus': options.word_bonus, **search_flags(options, fixed)}
    return ', '.join(f'{name} {value:g}' for name, value in weights.items())


def report(
    args: argparse.Namespace, tuner: 'Tuner', found: 'Tuning', fixed: Sequence[str], validated: Any
) -> None:
    """Prints and draws scores; writes the chosen weights, and for las the flags of its search, to the run directory."""
    from utils.decode.options import Tuned, lm_id, write_tuned
    from utils.decode.points import CHARACTER_ERRORS, ERRORS, format_interval, format_points, interval, rank, rate
    from utils.plots import draw_surface
    from utils.recognition.posteriors import find_weights

    options, lm, groups, has_words = found.options, Path(args.lm), tuner.groups, tuner.count.has_words
    print(format_points(found.points, found.chosen, groups, has_words))
    num_empty = sum(point.num_empty == len(groups) for point in found.points)
    if num_empty:
        log.warning('%d of the %d pairs of weights left every text empty', num_empty, len(found.points))
    figure, rate_name = Path(args.savepath, OUT_NAME, f'{lm.name.split(".")[0]}.png'), 'WER' if has_words else 'CER'
    rates = [(*point.weights, point.rate) for point in sorted(found.points, key=rank)]
    draw_surface(rates, rate_name, f'{lm.name}, {len(groups)} utterances', figure)

    def rates_of(counts: Any) -> tuple[float | None, float]:
        return rate(counts, ERRORS) if has_words else None, rate(counts, CHARACTER_ERRORS)

    (wer, cer), (wer_without, cer_without) = rates_of(found.chosen.counts), rates_of(found.greedy)
    wer_folds, cer_folds = rates_of(validated) if validated is not None else (None, None)
    tuned = Tuned(
        lm=str(lm.absolute()), lm_id=lm_id(lm), unit=tuner.unit,
        lm_weight=options.lm_weight, word_bonus=options.word_bonus,
        lexicon=options.lexicon if options.lexicon in ('yes', 'no') else str(Path(options.lexicon).absolute()),
        beam_width=options.beam_width, checkpoint=options.checkpoint, dev=tuple(args.devfiles), wer=wer, cer=cer,
        speller=search_flags(options, fixed), wer_without=wer_without, cer_without=cer_without, rule=args.rule,
        folds=args.folds or 0, wer_folds=wer_folds, cer_folds=cer_folds,
        weights=find_weights(args.savepath, options.checkpoint),
    )  # fmt: skip
    log.info('weights in %s, figure in %s', write_tuned(args.savepath, tuned), figure)

    def shown(counts: Any) -> str:
        return f'{100 * rate(counts, ERRORS):.2f} % ({format_interval(interval(counts, groups))})'

    without = f'greedy {rate_name} {shown(found.greedy)}'
    without += f', beam {shown(found.beam)}' if options.family == 'attention' else ''
    print(f'\n{without}; with {args.lm}: {shown(found.chosen.counts)} ({describe(options, fixed)})')
    if validated is not None:
        print(f'cross-validated in {args.folds} parts: {rate_name} {shown(validated)}')


if __name__ == '__main__':
    sys.exit(run_main(main))
