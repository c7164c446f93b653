"""Joins data, model, validation and trainer into a training run, on one machine or as a task of a cluster."""

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow.compat.v1 as tf

import models
from models.layers import Phase
from utils.cluster.spec import Cluster
from utils.cluster.startup import join_cluster, run_parameter_server
from utils.cluster.worker import WorkerLoop
from utils.config import Flags
from utils.data.augment import Augmentation
from utils.data.batching import BatchSize, plan_epoch
from utils.data.index import read_index
from utils.data.loader import Loader
from utils.data.pipeline import Pipeline
from utils.data.statistics import STATISTICS_NAME, compute_statistics
from utils.data.transcripts import fitting_rows, symbol_frequencies, usable_rows
from utils.data.vocabulary import VOCABULARY_NAME
from utils.errors import DataError
from utils.recognition.recognizer import load_recognizer
from utils.recognition.validation import Validation
from utils.run_directory import CONFIG_NAME, RunConfig, check_same_flags, prepare_run
from utils.train.graph import TrainingTask
from utils.train.step import StepLoss
from utils.train.strategies import describe_batch, local_runtime, session_options, warn_if_emulated
from utils.train.trainer import LocalCoordinator, Trainer

log = logging.getLogger(__name__)


def train(flags: Flags, cluster: Cluster | None) -> int:
    """Trains as the command line says: alone, or as a task of a cluster."""
    values = flags.run
    threads = values.gpu_fraction, values.intra_op_threads, values.inter_op_threads
    if not cluster:
        return train_chief(flags, local_runtime(*threads, towers=values.gpus), LocalCoordinator())
    if cluster.job == 'ps':
        return run_parameter_server(cluster, session_options(*threads), values.cluster_timeout_secs)
    timeout_secs = values.cluster_timeout_secs
    with join_cluster(cluster, session_options(*threads), values.gpus, timeout_secs) as (runtime, coordinator):
        return (train_chief if cluster.is_chief else train_worker)(flags, runtime, coordinator)


def train_chief(flags: Flags, runtime, coordinator) -> int:
    """Opens the run directory and trains into it, alone or as the chief of a cluster."""
    options, run_dir = flags.train, flags.run.savepath
    train_index, dev_index = read_index(options.train_files), read_index(options.dev_files)
    config, is_new = prepare_run(flags, train_index.spec)
    if dev_index.spec != train_index.spec:
        raise DataError(
            f'{options.dev_files[0]} has features {dev_index.spec}, {options.train_files[0]} has {train_index.spec}; '
            f'preprocess both alike'
        )
    if is_new:
        compute_statistics(train_index, config.model.features).save(run_dir)
    paths = [Path(run_dir) / name for name in (CONFIG_NAME, VOCABULARY_NAME, STATISTICS_NAME)]
    coordinator.publish(paths, train_index.fingerprint)
    recognizer = load_recognizer(run_dir, checkpoint='', session_config=runtime.session_config)
    frames_per_symbol = models.get(config.model.model).frames_per_symbol
    train_index = train_index.take(usable_rows(train_index, recognizer.vocabulary, frames_per_symbol))
    fitting_rows(dev_index, recognizer.vocabulary, frames_per_symbol)  # a character that nobody can recognise shows now
    hours = train_index.durations.sum() / 3600
    log.info('%s: %d utterances, %.2f hours; dev %d utterances', run_dir, len(train_index), hours, len(dev_index))
    log.info('effective batch: %s', describe_batch(config.train.batch_size, config.train.frames_per_batch, runtime))
    images = config.train.attention_images if config.model.model == 'las' else 0
    validate = Validation(recognizer, dev_index, config.train.batch_size, images, run_dir)
    task = training_task(config, train_index, recognizer, runtime.num_replicas, validate)
    return Trainer(task, config.train, runtime, run_dir, coordinator, flags.run.profile_steps).run()


def train_worker(flags: Flags, runtime, coordinator) -> int:
    """Trains what the chief trains; what is in the run directory comes from the chief."""
    train_index = read_index(flags.train.train_files)
    with tempfile.TemporaryDirectory() as run_dir:
        coordinator.receive(run_dir, train_index.fingerprint)
        config = RunConfig.load(run_dir)
        check_same_flags(config, flags)
        recognizer = load_recognizer(run_dir, checkpoint='', session_config=runtime.session_config)
    frames_per_symbol = models.get(config.model.model).frames_per_symbol
    train_index = train_index.take(usable_rows(train_index, recognizer.vocabulary, frames_per_symbol))
    task = training_task(config, train_index, recognizer, runtime.num_replicas)
    return WorkerLoop(task, config.train, runtime, coordinator).run()


def training_task(config: RunConfig, train_index, recognizer, num_replicas: int, validate: Callable | None = None):
    """Data, loss and validation of a run, as the trainer wants them; followers do not validate."""
    options = config.train
    warn_if_emulated(options.dtype)
    loader = Loader(
        train_index,
        recognizer.vocabulary,
        recognizer.statistics,
        models.get(config.model.model).frames_per_symbol,
        Augmentation(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Augmentation)}),
        options.augment_from_epoch,
        options.seed,
    )
    size = BatchSize(options.batch_size, options.frames_per_batch).times(num_replicas)

    # only unigram smoothing wants them, and counting a million transcripts takes its time
    is_unigram = options.label_smoothing == 'unigram'
    frequencies = symbol_frequencies(train_index, recognizer.vocabulary) if is_unigram else ()

    return TrainingTask(
        loss_fn=training_loss(config, frequencies),
        make_pipeline=lambda: Pipeline(loader.batch, config.model.features),
        plan=lambda epoch: plan_epoch(train_index.frames, size, options.seed, epoch, options.sortagrad),
        frames=train_index.frames,
        name_row=train_index.where,
        validate=validate,
        loss_unit=models.get(config.model.model).loss_unit,
    )


def training_loss(config: RunConfig, frequencies: Sequence[float] = ()):
    """The loss function of a run's model, as the trainer wants it; see `models.Criterion` for the frequencies."""
    model, options = models.get(config.model.model), config.train
    criterion = models.Criterion(options.label_smoothing, tuple(frequencies), options.sample_prob)

    def loss_fn(batch, step, seed):
        phase = Phase(
            is_training=True, keep_prob=options.keep_prob, seed=seed, dtype=tf.as_dtype(options.dtype), step=step
        )
        features = phase.noise(batch.features, options.input_noise)
        output = model.forward(features, batch.feature_lengths, config.model, phase)
        losses = model.losses(output, batch.labels, batch.label_lengths, config.model, phase, criterion)
        return StepLoss(losses, phase.statistics)

    return loss_fn
