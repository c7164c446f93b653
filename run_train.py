"""Trains an end-to-end speech recogniser into a run directory, or scores one on dev or test indexes."""

import dataclasses
import itertools
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.config import CONFIG_NAME, ModelConfig, RunConfig, check_same_model
from utils.configure import Flags, new_model_config, new_train_config, parse_train_flags
from utils.errors import DataError, UsageError, run_main

log = logging.getLogger(__name__)

VOCABULARY_NAME = 'vocab.txt'


def load_recognizer(run_dir: str, checkpoint: str = 'best', session_config=None):
    """A recogniser with the weights of a run's `best`, `latest` or `average` checkpoint; None leaves it without."""
    from utils.train.quiet import import_tensorflow

    import_tensorflow()

    import models
    from models import ctc
    from models.layers import Phase
    from utils.data.features import FeatureSpec
    from utils.data.loading import FeatureStatistics
    from utils.data.vocabulary import Vocabulary
    from utils.train.checkpoint import Checkpoints
    from utils.train.evaluator import Inference, Recognizer
    from utils.train.strategies import local_runtime

    config = RunConfig.load(run_dir)
    model = models.get(config.model.model)

    def infer(batch):
        output = model.forward(batch.features, batch.feature_lengths, config.model, Phase())
        losses = ctc.losses(output, batch.labels, batch.label_lengths)
        return Inference(*ctc.best_path(output), losses, ctc.posteriors(output))

    checkpoints = Checkpoints(run_dir)
    path = checkpoints.prefix(checkpoints.resolve(checkpoint)) if checkpoint else None
    recognizer = Recognizer(
        infer,
        config.model,
        Vocabulary.read(str(Path(run_dir) / VOCABULARY_NAME)),
        FeatureStatistics.load(run_dir),
        FeatureSpec.parse(config.feature_spec),
        model.TIME_STRIDE,
        session_config or local_runtime().session_config,
    )
    if path:
        recognizer.restore(path)
    return recognizer


def prepare_run(flags: Flags, spec) -> tuple[RunConfig, bool]:
    """Opens the run directory: goes on with the run in it, or begins one.

    Args:
      flags: the command line.
      spec: kind of the training features, a `FeatureSpec`.

    Returns:
      The configuration, and whether the run is new. A new one's vocabulary and configuration are written.
    """
    from utils.data.vocabulary import Vocabulary

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


def train(flags: Flags) -> int:
    """Trains as the command line says."""
    from utils.train.quiet import import_tensorflow

    import_tensorflow()

    import models
    from utils.data.index import read_index
    from utils.data.loading import compute_statistics, fitting_rows, usable_rows
    from utils.train.strategies import local_runtime
    from utils.train.trainer import Trainer

    values, run_dir = flags.values, flags.values.savepath
    train_index, dev_index = read_index(values.train_files), read_index(values.dev_files)
    config, is_new = prepare_run(flags, train_index.spec)
    if dev_index.spec != train_index.spec:
        raise DataError(
            f'{values.dev_files[0]} has features {dev_index.spec}, {values.train_files[0]} has {train_index.spec}; '
            f'preprocess both alike'
        )
    if is_new:
        compute_statistics(train_index, config.model.features).save(run_dir)
    runtime = local_runtime(values.gpu_fraction, values.intra_op_threads, values.inter_op_threads)
    recognizer = load_recognizer(run_dir, checkpoint='', session_config=runtime.session_config)
    time_stride = models.get(config.model.model).TIME_STRIDE
    train_index = train_index.take(usable_rows(train_index, recognizer.vocabulary, time_stride))
    fitting_rows(dev_index, recognizer.vocabulary, time_stride)  # a character that nobody can recognise shows now
    hours = train_index.durations.sum() / 3600
    log.info('%s: %d utterances, %.2f hours; dev %d utterances', run_dir, len(train_index), hours, len(dev_index))
    task = training_task(config, train_index, dev_index, recognizer, runtime.num_replicas)
    return Trainer(task, config.train, runtime, run_dir, values.profile_steps).run()


def training_task(config: RunConfig, train_index, dev_index, recognizer, num_replicas: int):
    """Data, loss and validation of a run, as the trainer wants them."""
    import models
    from utils.data.augment import Augmentation
    from utils.data.batching import BatchSize, plan_epoch
    from utils.data.loading import Loader
    from utils.data.pipeline import Pipeline
    from utils.train.graph import Task

    options = config.train
    loader = Loader(
        train_index,
        recognizer.vocabulary,
        recognizer.statistics,
        models.get(config.model.model).TIME_STRIDE,
        Augmentation(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Augmentation)}),
        options.augment_from_epoch,
        options.seed,
    )
    size = BatchSize(options.batch_size, options.frames_per_batch).times(num_replicas)

    def validate(checkpoint_path):
        recognizer.restore(checkpoint_path)
        evaluation = recognizer.evaluate(dev_index, options.batch_size)
        scores = evaluation.scores
        return {
            'error': scores.leading.rate,
            'dev_loss': evaluation.loss,
            'wer': scores.words.rate,
            'cer': scores.characters.rate,
        }

    return Task(
        loss_fn=training_loss(config),
        make_pipeline=lambda: Pipeline(loader.batch, config.model.features),
        plan=lambda epoch: plan_epoch(train_index.frames, size, options.seed, epoch, options.sortagrad),
        frames=train_index.frames,
        name_row=train_index.where,
        validate=validate,
    )


def training_loss(config: RunConfig):
    """The loss function of a run's model, as the trainer wants it."""
    import models
    from models import ctc
    from models.layers import Phase
    from utils.train.step import StepLoss

    model = models.get(config.model.model)

    def loss_fn(batch, step, seed):
        phase = Phase(is_training=True, keep_prob=config.train.keep_prob, seed=seed, step=step)
        output = model.forward(batch.features, batch.feature_lengths, config.model, phase)
        return StepLoss(ctc.losses(output, batch.labels, batch.label_lengths), phase.statistics)

    return loss_fn


def score(flags: Flags) -> int:
    """Restores the best checkpoint and scores the -d files, like run_test.py."""
    import run_test

    values = flags.values
    check_same_model(
        RunConfig.load(values.savepath).model, flags.fields_of(ModelConfig, given_only=True), values.savepath
    )
    return run_test.main(
        [
            '-s',
            values.savepath,
            '-t',
            *values.dev_files,
            '-b',
            str(values.batch_size),
            '--out',
            str(Path(values.savepath) / values.mode),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = parse_train_flags(argv)
    return train(flags) if flags.values.mode == 'train' else score(flags)


if __name__ == '__main__':
    sys.exit(run_main(main))
