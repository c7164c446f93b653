"""Rules between options: within a command line, with the run that it resumes, and with the chief of a cluster."""

import argparse
import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from models.config import ModelConfig
from utils.cli import as_flag, as_text, given_options
from utils.config import Flags, TrainConfig
from utils.errors import UsageError
from utils.pack.archive import require_directory
from utils.run_directory import CONFIG_NAME, RunConfig, is_resumed, open_initial_run
from utils.train.lock import LOCK_NAME

log = logging.getLogger(__name__)

# options of RUN that a run begun with its weights shares; layers of another number or kind have other names and shapes
SHARED = ('model', 'features', 'rnn_cell', 'hidden_units', 'rnn_layers', 'activation', 'batch_norm')
CHOICES = ('best', 'latest', 'average')
START = ('init_from', 'init_checkpoint', 'init_statistics')
AUGMENTATIONS = ('time_masks', 'freq_masks', 'tempo_range', 'warp_range')


def resolve_flags(flags: Flags) -> Flags:
    """The flags with the options of the run in RUN_DIR, if it is resumed, in place of the defaults.

    Raises:
      UsageError: options that cannot work together or contradict the run, or a directory that holds something else.
      DataError: a damaged configuration.
    """
    run_dir = Path(flags.run.savepath)
    require_directory(run_dir, 'the training', f'give another -s, and --init_from {run_dir} to begin with its weights')
    if is_resumed(flags):
        saved = RunConfig.load(flags.run.savepath)
        check_same_model(saved.model, given_options(flags.given, ModelConfig), flags.run.savepath)
        check_same_start(saved.train, flags)
        flags = dataclasses.replace(flags, model=saved.model, train=resumed_options(saved.train, flags))
    elif run_dir.exists() and {*os.listdir(run_dir)} - {LOCK_NAME} and not (run_dir / CONFIG_NAME).exists():
        raise UsageError(f'-s {run_dir} is not empty and holds no run; give a new or empty directory')
    elif flags.train.init_from:
        flags = dataclasses.replace(flags, model=initial_model(flags))
    check_options(flags.model, flags.train, flags.given)
    return flags


def initial_model(flags: Flags) -> ModelConfig:
    """The model of a new run that begins with the weights of another: its options, with those given in their place.

    Raises:
      UsageError: options that the weights do not suit, or the run's own directory.
      DataError: no such run, or a damaged one.
    """
    source, given = flags.train.init_from, given_options(flags.given, ModelConfig)
    if os.path.realpath(source) == os.path.realpath(flags.run.savepath):
        raise UsageError(f'--init_from {source} is -s itself; give another -s')
    saved = open_initial_run(source).config.model
    shared = {name: value for name, value in given.items() if name in SHARED}
    check_same_model(saved, shared, source, 'leave the flag out, or name another run with --init_from')
    return dataclasses.replace(saved, **given)


def check_same_start(saved: TrainConfig, flags: Flags) -> None:
    """Checks the options given with which a run that is resumed had begun; best, latest and average fit any name.

    Raises:
      UsageError: names the option and both values.
    """
    for name, value in given_options(flags.given, TrainConfig).items():
        old = getattr(saved, name)
        if name == 'init_from' and old:
            is_same = os.path.realpath(value) == os.path.realpath(old)
        else:
            is_same = name not in START or value == old or value in CHOICES
        if not is_same:
            began = f'with {as_flag(TrainConfig, name, old)}' if old != '' else f'without --{name}'
            raise UsageError(
                f'the run in {flags.run.savepath} began {began}, the command line says {as_text(value)}; leave the '
                f'flag out, give another -s, or start new with -r no'
            )


def check_options(model: ModelConfig, train: TrainConfig, given: argparse.Namespace) -> None:
    """Checks options together; logs those given on the command line that have no effect beside the others.

    Args:
      model, train: the options that hold, those of a run that is resumed too.
      given: only what the command line gives.

    Raises:
      UsageError: options that cannot work together.
    """
    values = vars(model) | vars(train)
    for config in (model, train):
        for name, value in given_options(given, type(config)).items():
            option, flag = config.__dataclass_fields__[name].metadata['option'], as_flag(type(config), name, value)
            if option.models and model.model not in option.models:
                raise UsageError(f'{flag} is for {" and ".join(option.models)}, -md is {model.model}; leave it out')
            other, *effective = option.beside or ('model', model.model)
            if values[other] not in effective if effective else not values[other]:
                kind = ModelConfig if hasattr(model, other) else TrainConfig
                beside = f'with {as_flag(kind, other, values[other])}' if values[other] != '' else f'without --{other}'
                log.warning('%s has no effect %s', flag, beside)
    weights, num_files = train.train_weights, len(train.train_files)
    if weights and len(weights) != num_files:
        raise UsageError(
            f'{as_flag(TrainConfig, "train_weights", weights)} has {len(weights)} weights for {num_files} -t indexes; '
            f'give one for each, comma-separated'
        )
    for text in model.contradictions():
        raise UsageError(text)
    if train.frames_per_batch and 'batch_size' in given:
        frames = f'--frames_per_batch {train.frames_per_batch}'
        raise UsageError(f'{frames} and -b both set the size of a step; leave -b out, or give --frames_per_batch 0')
    if train.lr_schedule == 'plateau' and train.lr_decay == 1:
        raise UsageError('--lr_schedule plateau divides by --lr_decay, which is 1; give a divisor above 1, such as 2')
    if train.learning_rate * train.weight_decay >= 1:
        decay = as_flag(TrainConfig, 'weight_decay', train.weight_decay)
        raise UsageError(f'{decay} times -lr {train.learning_rate:g} takes all of each weight; give less than 1 / -lr')
    if train.freeze > len(model.layers):
        raise UsageError(
            f'--freeze {train.freeze}: this model has {len(model.layers)} layers below its output '
            f'({", ".join(model.layers)}); give at most as many'
        )
    if 'augment_from_epoch' in given and not any(values[name] for name in AUGMENTATIONS):
        log.warning('--augment_from_epoch %d has no effect without augmentation', train.augment_from_epoch)


def resumed_options(saved: TrainConfig, flags: Flags) -> TrainConfig:
    """Options of training of a resumed run: those given on the command line, then those of the run.

    The epochs of the run keep their numbers: another -i only says from where -p counts, and the order of the utterances
    and the learning rate go on from the run's first epoch.

    Raises:
      UsageError: -i leaves epochs out, or is given without -p.
    """
    given = {name: value for name, value in given_options(flags.given, TrainConfig).items() if name not in START}
    first, first_of_run = given.pop('initial_epoch', saved.initial_epoch), saved.initial_epoch
    if first != first_of_run:
        where, end = f'-i {first}: {flags.run.savepath} began with epoch {first_of_run}', first_of_run + saved.epochs
        if first > end:
            raise UsageError(f'{where} and ends before epoch {end}; give -i {end} or less')
        num_epochs = given['epochs'] = first - first_of_run + given.get('epochs', -first)
        if num_epochs < 1:
            raise UsageError(f'{where}; leave -i out, or say with -p how many epochs to train from epoch {first} on')
        log.info('%s, from which order and learning rate count; the last is %d', where, first_of_run + num_epochs - 1)
    return dataclasses.replace(saved, **given)


def check_same_flags(config: RunConfig, flags: Flags) -> None:
    """Checks a worker's flags against the chief's configuration; file names may differ between machines.

    Raises:
      UsageError: names the option and both values.
    """
    model = dataclasses.replace(config.model, **given_options(flags.given, ModelConfig))
    for mine, chiefs in ((model, config.model), (resumed_options(config.train, flags), config.train)):
        for name, value in vars(mine).items():
            if name not in ('train_files', 'dev_files') and value != getattr(chiefs, name):
                raise UsageError(
                    f'this worker was started with {as_flag(type(mine), name, value)}, the chief with '
                    f'{as_text(getattr(chiefs, name))}; give all tasks the same flags'
                )


def check_same_model(saved: ModelConfig, given: dict[str, Any], run_dir: str, remedy: str = '') -> None:
    """Checks the model options given on the command line against those of the run.

    Raises:
      UsageError: names the option and both values.
    """
    for name, value in given.items():
        if getattr(saved, name) != value:
            raise UsageError(
                f'{run_dir} holds a model with {as_flag(ModelConfig, name, getattr(saved, name))}, the command line '
                f'says {as_text(value)}; {remedy or "leave the flag out, give another -s, or start new with -r no"}'
            )
