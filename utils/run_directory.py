"""Opens a run directory for training: a new run's configuration and vocabulary, or those of one to go on with."""

import dataclasses
import itertools
import logging
import os
from pathlib import Path

from utils.config import CONFIG_NAME, ModelConfig, RunConfig, check_same_model
from utils.configure import Flags, new_model_config, new_train_config
from utils.data.features import FeatureSpec
from utils.data.vocabulary import VOCABULARY_NAME, Vocabulary
from utils.errors import DataError, UsageError

log = logging.getLogger(__name__)


def prepare_run(flags: Flags, spec: FeatureSpec) -> tuple[RunConfig, bool]:
    """Opens the run directory: goes on with the run in it, or begins one.

    Args:
      flags: the command line.
      spec: kind of the training features.

    Returns:
      The configuration, and whether the run is new. A new one's vocabulary and configuration are written.
    """
    run_dir, train_file = flags.values.savepath, flags.values.train_files[0]
    if spec.featlen != flags.values.features:
        raise DataError(
            f'{train_file} has {spec.featlen} features a frame, -f says {flags.values.features}; give -f {spec.featlen}'
        )
    given_vocabulary = Vocabulary.read(flags.values.vocabfile) if flags.values.vocabfile else None
    if (Path(run_dir) / CONFIG_NAME).exists() and flags.values.restoremodel:
        saved = RunConfig.load(run_dir)
        check_same_model(saved.model, flags.fields_of(ModelConfig, given_only=True), run_dir)
        if given_vocabulary and given_vocabulary != Vocabulary.read(str(Path(run_dir) / VOCABULARY_NAME)):
            raise UsageError(
                f'{run_dir} holds another vocabulary than {flags.values.vocabfile}; leave -v out or give another -s'
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
