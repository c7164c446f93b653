"""Opens a run directory for training: a new run's configuration and vocabulary, or those of one to go on with."""

import dataclasses
import itertools
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.config import ModelConfig
from utils.cli import given_options
from utils.config import Flags, TrainConfig
from utils.data.vocabulary import VOCABULARY_NAME, Vocabulary
from utils.errors import DataError, UsageError
from utils.files import write_text

if TYPE_CHECKING:
    from utils.data.features import FeatureSpec

log = logging.getLogger(__name__)

CONFIG_NAME = 'config.json'


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything in config.json. `feature_spec` is how the features were made, e.g. `fbank-40-0.02-0.01`."""

    model: ModelConfig
    train: TrainConfig
    feature_spec: str

    def save(self, run_dir: str) -> None:
        """Writes RUN_DIR/config.json."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + '\n'
        write_text(Path(run_dir) / CONFIG_NAME, text)

    @classmethod
    def load(cls, run_dir: str) -> 'RunConfig':
        """Reads RUN_DIR/config.json.

        Raises:
          DataError: no such run, or a damaged file.
        """
        path = Path(run_dir) / CONFIG_NAME
        try:
            values = json.loads(path.read_text())
            train: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values['train'].items()}
            return cls(ModelConfig(**values['model']), TrainConfig(**train), values['feature_spec'])
        except FileNotFoundError:
            raise DataError(
                f'{run_dir}: no {CONFIG_NAME} here; name a directory that run_train.py has written'
            ) from None
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise DataError(
                f'{path}: not a run configuration ({error}); restore it or train anew in another -s'
            ) from None


def prepare_run(flags: Flags, spec: 'FeatureSpec') -> tuple[RunConfig, bool]:
    """Opens the run directory: goes on with the run in it, or begins one.

    Args:
      flags: the command line.
      spec: kind of the training features.

    Returns:
      The configuration, and whether the run is new. A new one's vocabulary and configuration are written.
    """
    run_dir, train_file = flags.run.savepath, flags.train.train_files[0]
    if spec.featlen != flags.model.features:
        raise DataError(
            f'{train_file} has {spec.featlen} features a frame, -f says {flags.model.features}; give -f {spec.featlen}'
        )
    given_vocabulary = Vocabulary.read(flags.run.vocabfile) if flags.run.vocabfile else None
    if (Path(run_dir) / CONFIG_NAME).exists() and flags.run.restoremodel:
        saved = RunConfig.load(run_dir)
        check_same_model(saved.model, given_options(flags.given, ModelConfig), run_dir)
        if given_vocabulary and given_vocabulary != Vocabulary.read(str(Path(run_dir) / VOCABULARY_NAME)):
            raise UsageError(
                f'{run_dir} holds another vocabulary than {flags.run.vocabfile}; leave -v out or give another -s'
            )
        if str(spec) != saved.feature_spec:
            raise DataError(
                f'{train_file} has features {spec}, the run in {run_dir} has {saved.feature_spec}; '
                f'preprocess alike or give another -s'
            )
        config = RunConfig(saved.model, new_train_config(flags, saved.train), saved.feature_spec)
        for field in dataclasses.fields(config.train):
            old, new = getattr(saved.train, field.name), getattr(config.train, field.name)
            if old != new:
                log.info('%s changes from %s to %s', field.name, old, new)
        config.save(run_dir)
        return config, False
    vocabulary = given_vocabulary or Vocabulary.english()
    config = RunConfig(new_model_config(flags, len(vocabulary)), new_train_config(flags, None), str(spec))
    if Path(run_dir).exists() and any(Path(run_dir).iterdir()):
        keep_aside(run_dir)
    os.makedirs(run_dir, exist_ok=True)
    vocabulary.write(str(Path(run_dir) / VOCABULARY_NAME))
    config.save(run_dir)
    return config, True


def keep_aside(run_dir: str) -> None:
    """Moves an old run out of the way of a new one; other directories are not touched.

    Raises:
      UsageError: the directory holds something that is not a run.
    """
    if not (Path(run_dir) / CONFIG_NAME).exists():
        raise UsageError(f'-s {run_dir} is not empty and holds no run; give a new or empty directory')
    run_dir = os.path.normpath(run_dir)
    new_name = next(name for i in itertools.count(1) if not os.path.exists(name := f'{run_dir}.{i}'))
    os.rename(run_dir, new_name)
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


def new_train_config(flags: Flags, saved: TrainConfig | None) -> TrainConfig:
    """How to train: the flags given, over what the run directory says where there is a run, over the defaults."""
    return flags.train if saved is None else dataclasses.replace(saved, **given_options(flags.given, TrainConfig))


def check_same_flags(config, flags: Flags) -> None:
    """A worker's flags must be the chief's, whose settings hold; file names may differ from machine to machine.

    Args:
      config: the chief's `RunConfig`.
      flags: of this worker.
    """
    for part in (config.model, config.train):
        for name, value in given_options(flags.given, type(part)).items():
            if name not in ('train_files', 'dev_files') and value != getattr(part, name):
                raise UsageError(
                    f'this worker was started with {name} {value}, the chief with {getattr(part, name)}; '
                    f'give all tasks the same flags'
                )


def check_same_model(saved: ModelConfig, given: dict, run_dir: str) -> None:
    """A flag that contradicts the run directory is an error that names both values.

    Args:
      saved: of the run directory.
      given: the model's fields that the command line sets.
      run_dir: for the message.
    """
    for name, value in given.items():
        if getattr(saved, name) != value:
            raise UsageError(
                f'{run_dir} holds a model with {name} {getattr(saved, name)}, the command line says {value}; '
                f'leave the flag out, give another -s, or start new with -r no'
            )
