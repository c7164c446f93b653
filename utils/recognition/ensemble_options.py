"""Several runs that recognise together: the option, and the checks that need no TensorFlow."""

import argparse
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from models.config import option
from utils.decode.options import BEAM_WIDTHS, LAS_FLAGS, DecodingOptions, lm_id, resolve_decoding
from utils.errors import DataError, UsageError

if TYPE_CHECKING:
    from utils.run_directory import Run

POSTERIORS, ROVER = 'posteriors', 'rover'
JOINED = ' + '  # between the names of several runs, or of their weights


@dataclass(frozen=True)
class EnsembleOptions:
    """Options of several runs."""

    combine: str | None = option(
        None, choices=(POSTERIORS, ROVER), group='several runs',
        help='posteriors: rank the texts of beam searches by the mean of their log-probabilities in all runs, for ds1 '
        'and ds2; rover: decode each run by itself, and vote word by word (default: posteriors; rover with las)',
    )  # fmt: skip


class Team(NamedTuple):
    """Runs that recognise together, or a single one.

    Attributes:
      runs: the runs, which have the same vocabulary.
      options: decoding options of each; with `POSTERIORS` those of the first are for all.
      combine: `POSTERIORS` or `ROVER`; empty: a single run.
    """

    runs: 'list[Run]'
    options: list[DecodingOptions]
    combine: str

    @property
    def path(self) -> str:
        """The paths of the runs."""
        return JOINED.join(run.path for run in self.runs)

    def describe(self, weights: str) -> dict[str, Any]:
        """Options of the decoding and weights of the models, for reports; where the runs differ, a list."""
        described = [asdict(each) for each in self.options]
        how = {
            name: value if all(each[name] == value for each in described) else [each[name] for each in described]
            for name, value in described[0].items()
        }
        read = {'lm_id': self.options[0].lm, 'hotwords_id': self.options[0].hotwords}
        identities = {name: lm_id(path) for name, path in read.items() if path and os.path.isfile(path)}
        several = {'runs': [run.path for run in self.runs], 'combine': self.combine} if self.combine else {}
        return {**how, **identities, 'weights': weights, **several}


def open_team(args: argparse.Namespace) -> Team:
    """Opens the runs of -s and resolves how they decode.

    Raises:
      UsageError: flags that cannot work together or with these runs.
      DataError: a missing or damaged run, or runs of different vocabularies.
    """
    from utils.run_directory import Run

    paths, combine = args.savepath, getattr(args, 'combine', None)
    real = [os.path.realpath(path) for path in paths]
    twice = [path for number, path in enumerate(paths) if real[number] in real[:number]]
    if len(paths) > 1 and getattr(args, 'save_posteriors', False):
        raise UsageError('--save_posteriors is for one run: save those of each, and give --posteriors DIR DIR2 ...')
    if getattr(args, 'posteriors', None) and len(args.posteriors) != len(paths):
        count = len(args.posteriors)
        raise UsageError(f'--posteriors names {count} directories, -s {len(paths)} runs; name one for each run')
    if twice:
        raise UsageError(f'-s names {twice[0]} twice; name each run once')
    if combine and len(paths) == 1:
        raise UsageError(f'--combine {combine} is for several runs, -s names one; leave it out or name more')
    runs = [Run.open(path) for path in paths]
    if len(runs) == 1:
        return Team(runs, [resolve_decoding(args, runs[0].config.model, runs[0].path)], '')
    for run in runs[1:]:
        if run.vocabulary.tokens != runs[0].vocabulary.tokens:
            raise DataError(
                f'{runs[0].path} and {run.path} have different vocabularies ({len(runs[0].vocabulary)} and '
                f'{len(run.vocabulary)} tokens); runs that recognise together need the same'
            )
    spellers = [run for run in runs if run.config.model.family == 'attention']
    combine = combine or (ROVER if spellers else POSTERIORS)
    if combine == POSTERIORS:
        if spellers:
            raise UsageError(
                f'--combine posteriors: {spellers[0].path} is a las, which has no posteriors apart from a text; '
                f'give --combine rover'
            )
        return Team(runs, [_resolve_joint(args, runs[0])], combine)
    _check_voting(args)
    return Team(runs, [_resolve(args, run, bool(spellers)) for run in runs], combine)


def _check_voting(args: argparse.Namespace) -> None:
    """Refuses flags of results that a vote does not have."""
    if getattr(args, 'num_best', 1) > 1:
        raise UsageError(f'--nbest {args.num_best}: a vote of several runs has one text; leave it out')
    if getattr(args, 'posteriors', None):
        raise UsageError('--posteriors is for --combine posteriors: voters decode by themselves; leave it out')


def _resolve_joint(args: argparse.Namespace, first: 'Run') -> DecodingOptions:
    """Options of a joint decoding, for which the tuned ones of the first run are taken; it always has a beam."""
    own = dict(vars(args))
    if own.get('beam_width') == 0:
        raise UsageError('--beam_width 0: several runs need a beam, greedy decoding has no texts to rank; leave it out')
    if not own.get('lm') and not own.get('hotwords'):
        own.setdefault('beam_width', BEAM_WIDTHS['ctc'])
    return resolve_decoding(argparse.Namespace(**own), first.config.model, first.path)


def _resolve(args: argparse.Namespace, run: 'Run', has_spellers: bool) -> DecodingOptions:
    """Options of one voter; flags of las are for those that are las, where there is one."""
    own = dict(vars(args))
    if has_spellers and run.config.model.family != 'attention':
        own = {name: value for name, value in own.items() if name not in LAS_FLAGS}
    return resolve_decoding(argparse.Namespace(**own), run.config.model, run.path)
