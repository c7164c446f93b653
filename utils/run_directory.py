"""A run directory: configuration, vocabulary and feature statistics of a run, created, opened or resumed."""

import dataclasses
import io
import itertools
import json
import logging
import os
from pathlib import Path

from models.config import ModelConfig
from utils.cli import as_text, out_of_range
from utils.config import Flags, TrainConfig
from utils.data.features import FeatureSpec
from utils.data.index import Index
from utils.data.statistics import STATISTICS_NAME, FeatureStatistics, compute_statistics
from utils.data.vocabulary import VOCABULARY_NAME, Vocabulary
from utils.errors import DataError, UsageError
from utils.files import BYTE_ORDER_MARK, decode_json, write_text
from utils.pack.archive import CONFIG_NAME, read_run_file
from utils.train.lock import LOCK_NAME

log = logging.getLogger(__name__)

RUN_FILES = CONFIG_NAME, VOCABULARY_NAME, STATISTICS_NAME


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The contents of config.json. `feature_spec` is the kind of the features, for example `fbank-40-0.02-0.01`."""

    model: ModelConfig
    train: TrainConfig
    feature_spec: str

    def save(self, run_dir: str) -> None:
        """Writes RUN_DIR/config.json."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + '\n'
        write_text(Path(run_dir) / CONFIG_NAME, text)

    @classmethod
    def load(cls, run_dir: str) -> 'RunConfig':
        """Reads config.json of a run, a directory or a packed one.

        Raises:
          DataError: no such run, or a damaged file.
        """
        path, remedy = str(Path(run_dir) / CONFIG_NAME), 'restore it or train anew in another -s'
        if (data := read_run_file(run_dir, CONFIG_NAME)) is None:
            raise DataError(f'{run_dir}: no {CONFIG_NAME} here; name a directory of run_train.py, or a packed run')
        found = decode_json(data.removeprefix(BYTE_ORDER_MARK), cls, path, what := 'a run configuration', remedy)
        fault = next(filter(None, map(out_of_range, (found.model, found.train))), '')
        fault = fault or next(iter(found.model.contradictions()), '')
        try:
            if FeatureSpec.parse(found.feature_spec).featlen != found.model.features:
                fault = f'features {found.model.features} and {found.feature_spec!r}'
        except DataError:
            fault = f'feature_spec {found.feature_spec!r}'
        if fault:
            raise DataError(f'{path}: not {what} ({fault}); {remedy}')
        return found


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds beside checkpoints and records.

    Attributes:
      path: the run directory, or the file of a packed run.
      config: configuration of model and training.
      vocabulary: tokens of the transcripts.
      statistics: mean and standard deviation of the training features.
    """

    path: str
    config: RunConfig
    vocabulary: Vocabulary
    statistics: FeatureStatistics

    @classmethod
    def open(cls, path: str) -> 'Run':
        """Reads a run directory, or a packed run.

        Raises:
          DataError: no such run, or a damaged file.
        """
        config, vocabulary = RunConfig.load(path), read_vocabulary(path)
        if len(vocabulary) + 1 != config.model.classes:
            raise DataError(
                f'{vocabulary.name}: {len(vocabulary)} tokens, but a model of {config.model.classes} classes has '
                f'{config.model.classes - 1}; restore the file'
            )
        return cls(path, config, vocabulary, FeatureStatistics.load(path, config.model.features))

    @classmethod
    def create(cls, path: str, config: RunConfig, vocabulary: Vocabulary, statistics: FeatureStatistics) -> 'Run':
        """Writes the files of a new run; makes the directory where it is missing."""
        os.makedirs(path, exist_ok=True)
        vocabulary.write(str(Path(path) / VOCABULARY_NAME))
        statistics.save(path)
        config.save(path)
        return cls(path, config, vocabulary, statistics)


def read_vocabulary(run: str) -> Vocabulary:
    """Reads the vocabulary of a run, a directory or a packed one; an OSError where a directory has none."""
    path = str(Path(run) / VOCABULARY_NAME)
    data = read_run_file(run, VOCABULARY_NAME)
    return Vocabulary.read(path) if data is None else Vocabulary.parse(io.BytesIO(data), path)


def open_initial_run(path: str) -> Run:
    """Reads the run of --init_from; a `DataError` if it is missing or damaged."""
    try:
        return Run.open(path)
    except DataError as error:
        raise DataError(f'--init_from: {str(error).partition(";")[0]}; restore it, or name another run') from None
    except FileNotFoundError as error:
        raise DataError(f'--init_from: {error.filename} is missing; restore it, or name another run') from None


def is_resumed(flags: Flags) -> bool:
    """Whether RUN_DIR holds a run that is to go on."""
    return flags.run.restoremodel and (Path(flags.run.savepath) / CONFIG_NAME).exists()


def open_training_run(flags: Flags, train_index: Index, initial: Run | None = None) -> Run:
    """The run to train, new or resumed, of which nothing is written yet; `write_training_run` does that.

    Args:
      flags: flags of `option_rules.resolve_flags`.
      train_index: training utterances.
      initial: run of --init_from, whose vocabulary and statistics a new run has unless others are asked for.

    Raises:
      UsageError: a vocabulary that does not suit -c or the run.
      DataError: features that do not suit the run or the initial one, or a damaged run.
    """
    assert train_index.spec, 'read_index refuses an index without utterances'
    run_dir, spec, num_features = flags.run.savepath, str(train_index.spec), train_index.spec.featlen
    if initial and spec != initial.config.feature_spec:
        raise DataError(
            f'{flags.train.train_files[0]} has features {spec}, --init_from {initial.path} has '
            f'{initial.config.feature_spec}; preprocess alike or name another run'
        )
    if num_features != flags.model.features:
        raise DataError(
            f'{flags.train.train_files[0]} has {num_features} features a frame, -f says {flags.model.features}; '
            f'give -f {num_features}'
        )
    vocabulary = Vocabulary.read(flags.run.vocabfile) if flags.run.vocabfile else None
    if is_resumed(flags):
        return _resume(flags, Run.open(run_dir), spec, vocabulary)
    vocabulary = vocabulary or (initial.vocabulary if initial else Vocabulary.english())
    config = RunConfig(new_model_config(flags, len(vocabulary)), flags.train, spec)
    if initial and flags.train.init_statistics:
        return Run(run_dir, config, vocabulary, initial.statistics)
    return Run(run_dir, config, vocabulary, compute_statistics(train_index, config.model.features))


def _resume(flags: Flags, run: Run, spec: str, vocabulary: Vocabulary | None) -> Run:
    saved = run.config
    if vocabulary and vocabulary != run.vocabulary:
        raise UsageError(
            f'{run.path} holds another vocabulary than {flags.run.vocabfile}; leave -v out or give another -s'
        )
    if spec != saved.feature_spec:
        raise DataError(
            f'{flags.train.train_files[0]} has features {spec}, the run in {run.path} has {saved.feature_spec}; '
            f'preprocess alike or give another -s'
        )
    for field in dataclasses.fields(TrainConfig):
        old, new = getattr(saved.train, field.name), getattr(flags.train, field.name)
        if old != new:
            log.info('%s changes from %s to %s', field.name, as_text(old), as_text(new))
    return dataclasses.replace(run, config=dataclasses.replace(saved, train=flags.train))


def write_training_run(run: Run, flags: Flags) -> None:
    """Writes the files of a run that `open_training_run` returned; a run that it replaces is kept under a new name."""
    if is_resumed(flags):
        run.config.save(run.path)
        return
    if (Path(run.path) / CONFIG_NAME).exists():
        _keep_aside(run.path)
    Run.create(run.path, run.config, run.vocabulary, run.statistics)


def _keep_aside(run_dir: str) -> None:
    run_dir = os.path.normpath(run_dir)
    new_name = next(name for i in itertools.count(1) if not os.path.exists(name := f'{run_dir}.{i}'))
    os.rename(run_dir, new_name)
    if os.path.exists(lock_path := os.path.join(new_name, LOCK_NAME)):  # held for this path, not for the old run
        os.mkdir(run_dir)
        os.rename(lock_path, os.path.join(run_dir, LOCK_NAME))
    log.info('the run in %s is kept as %s', run_dir, new_name)


def new_model_config(flags: Flags, num_tokens: int) -> ModelConfig:
    """The model of a new run; -c is checked against the vocabulary."""
    classes = flags.model.classes if 'classes' in flags.given else num_tokens + 1
    if classes != num_tokens + 1:
        raise UsageError(
            f'-c {classes} does not fit the vocabulary of {num_tokens} tokens, which needs {num_tokens + 1}; '
            f'leave -c out or name the vocabulary with -v'
        )
    return dataclasses.replace(flags.model, classes=classes)
