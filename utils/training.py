"""Joins data, model, validation and trainer into a training run, on one machine or as a task of a cluster."""

import contextlib
import dataclasses
import functools
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

import models
from models.layers import Phase
from models.listener import CTC_FRAMES
from utils.cluster.coordinator import ClusterCoordinator
from utils.cluster.spec import Cluster
from utils.cluster.startup import join_cluster, run_parameter_server
from utils.cluster.worker import WorkerLoop
from utils.config import Flags, TrainConfig
from utils.data.augment import Augmentation
from utils.data.batching import BatchSize, plan_epoch
from utils.data.index import Index, read_index
from utils.data.loader import Loader
from utils.data.mixing import Mixture
from utils.data.pipeline import Pipeline
from utils.data.transcripts import count_frames_needed, symbol_frequencies, usable_rows
from utils.errors import DataError
from utils.gpu.devices import log_gpus
from utils.option_rules import check_same_flags
from utils.recognition.recognizer import Recognizer, recurrence_for
from utils.recognition.validation import Validation
from utils.run_directory import RUN_FILES, Run, RunConfig, open_training_run, write_training_run
from utils.train.graph import TrainingTask
from utils.train.lock import lock_run
from utils.train.step import StepLoss
from utils.train.strategies import Runtime, describe_batch, local_runtime, session_options, warn_if_emulated
from utils.train.trainer import LocalCoordinator, Trainer
from utils.train.transfer import initial_weights

log = logging.getLogger(__name__)


def train(flags: Flags, cluster: Cluster | None) -> int:
    """Trains on this machine alone, or takes the part of one task in a cluster; returns the exit status."""
    values = flags.run
    threads = values.gpu_fraction, values.intra_op_threads, values.inter_op_threads
    if not cluster:
        return train_chief(flags, local_runtime(*threads, towers=values.gpus), LocalCoordinator())
    if cluster.job == 'ps':
        return run_parameter_server(cluster, session_options(*threads), values.cluster_timeout_secs)
    timeout_secs = values.cluster_timeout_secs
    with join_cluster(cluster, session_options(*threads), values.gpus, timeout_secs) as (runtime, coordinator):
        return (train_chief if cluster.is_chief else train_worker)(flags, runtime, coordinator)


def train_chief(flags: Flags, runtime: Runtime, coordinator: LocalCoordinator) -> int:
    """Opens the run directory and trains into it, alone or as the chief of a cluster.

    Nothing is written before the indexes have been checked: a command that fails leaves a run as it was.
    """
    log_gpus()
    recurrence = recurrence_for(flags.model, flags.run.recurrence, runtime.session_config)
    initial = initial_weights(flags)
    if initial:  # config.json records the name
        flags = dataclasses.replace(flags, train=dataclasses.replace(flags.train, init_checkpoint=initial.checkpoint))
    files, run_dir = flags.train, flags.run.savepath
    train_index, dev_index = read_index(files.train_files), read_index(files.dev_files, verify=True)
    if dev_index.spec != train_index.spec:
        raise DataError(
            f'{files.dev_files[0]} has features {dev_index.spec}, {files.train_files[0]} has {train_index.spec}; '
            f'preprocess both alike'
        )
    _warn_of_overlap(dev_index, train_index)
    with lock_run(run_dir) as check_run_dir:
        run = open_training_run(flags, train_index, initial and initial.run)
        options = run.config.train
        recognizer = Recognizer(run, session_config=runtime.session_config, recurrence=recurrence)
        fingerprint, train_index = _fingerprint(train_index), _usable(train_index, run)
        transfer = initial and initial.fit(recognizer.shapes, run)
        images = options.attention_images if run.config.model.family == 'attention' else 0
        validate = Validation(recognizer, dev_index, options.batch_size, images, run_dir)
        write_training_run(run, flags)
        coordinator.publish([Path(run_dir) / name for name in RUN_FILES], fingerprint)
        hours = train_index.durations.sum() / 3600
        log.info('%s: %d utterances, %.2f hours; dev %d utterances', run_dir, len(train_index), hours, len(dev_index))
        log.info('effective batch: %s', describe_batch(options.batch_size, options.frames_per_batch, runtime))
        if options.freeze:
            layers, last = run.config.model.layers[: options.freeze], options.initial_epoch + options.freeze_epochs - 1
            log.info('--freeze %d: %s stay as they are to the end of epoch %d', options.freeze, ', '.join(layers), last)
        task = training_task(run, train_index, runtime.num_replicas, validate, recurrence)
        task = task._replace(dev=dev_index.fingerprint, transfer=transfer)
        return Trainer(task, options, runtime, run_dir, coordinator, flags.run.profile_steps, check_run_dir).run()


def _fingerprint(index: Index) -> str:
    """Fingerprint of the training utterances; tells indexes apart that are cut at other places, for their weights."""
    sizes = np.bincount(index.origins[:, 0])
    return f'{index.fingerprint} ({" + ".join(map(str, sizes))})' if len(sizes) > 1 else index.fingerprint


def _mix(index: Index, options: TrainConfig) -> tuple[Index, Callable[[int], np.ndarray] | None]:
    """The index with a row for each time that an epoch may take an utterance, and the function from epochs to rows."""
    if not options.train_weights:
        return index, None
    mixture = Mixture(index.origins[:, 0], options.train_weights, options.seed)
    index, counts = index.take(mixture.rows), mixture.counts(0)
    parts = zip(counts, index.index_paths, options.train_weights, strict=True)
    named = ', '.join(f'{count} of {path} (weight {weight:g})' for count, path, weight in parts)
    log.info('the first epoch has %d utterances: %s', sum(counts), named)
    return index, mixture.epoch


def _warn_of_overlap(dev_index: Index, train_index: Index) -> None:
    num_shared = int(np.isin(dev_index.identities(), train_index.identities()).sum())
    if num_shared:
        parts = num_shared, len(dev_index)
        log.warning('%d of %d dev utterances are training utterances too: scores will be too good', *parts)


def train_worker(flags: Flags, runtime: Runtime, coordinator: ClusterCoordinator) -> int:
    """Trains as a worker other than the chief, which publishes the run."""
    train_index = read_index(flags.train.train_files)
    with tempfile.TemporaryDirectory() as run_dir:
        coordinator.receive(run_dir, _fingerprint(train_index))
        run = Run.open(run_dir)
    check_same_flags(run.config, flags)
    recurrence = recurrence_for(run.config.model, flags.run.recurrence, runtime.session_config)
    task = training_task(run, _usable(train_index, run), runtime.num_replicas, recurrence=recurrence)
    return WorkerLoop(task, run.config.train, runtime, coordinator).run()


def _usable(index: Index, run: Run) -> Index:
    """The utterances whose transcripts fit their frames; the others are named in the log."""
    model, config = models.get(run.config.model), run.config.model
    usable = index.take(usable_rows(index, run.vocabulary, model.frames_per_symbol))
    if config.family == 'attention' and config.ctc_weight:
        frames = CTC_FRAMES * -(-usable.frames // model.time_stride)
        num_unfit = int((count_frames_needed(usable.texts, run.vocabulary) > frames).sum())
        what = 'have too many symbols for the CTC head, which neither learns nor finds such texts; give a smaller -ws'
        if num_unfit:
            log.warning('%d of %d transcripts %s in preprocessing', num_unfit, len(usable), what)
    return usable


def training_task(
    run: Run,
    train_index: Index,
    num_replicas: int,
    validate: Callable[[str], dict] | None = None,
    recurrence: str = 'loop',
) -> TrainingTask:
    """The data, loss and validation of a run for the trainer.

    Args:
      run: run to train.
      train_index: training utterances, all of them usable.
      num_replicas: replicas that share each step.
      validate: scores a checkpoint; None for workers other than the chief.
      recurrence: form of the recurrent layers; see `models.layers.Phase`.
    """
    model, options = models.get(run.config.model), run.config.train
    warn_if_emulated(options.dtype)
    index, rows_of = _mix(train_index, options)
    loader = Loader(
        index,
        run.vocabulary,
        run.statistics,
        model.frames_per_symbol,
        Augmentation(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Augmentation)}),
        options.augment_from_epoch,
        options.seed,
    )
    size = BatchSize(options.batch_size, options.frames_per_batch).times(num_replicas)

    # a changed tempo must not carry a batch beyond its budget
    longest = np.ceil(index.frames / (1 - options.tempo_range)).astype(np.int64)

    def plan(epoch, rows_of=rows_of):
        is_augmented = options.initial_epoch + epoch >= options.augment_from_epoch
        frames = longest if is_augmented else index.frames
        return plan_epoch(frames, size, options.seed, epoch, options.sortagrad, rows_of and rows_of(epoch))

    # only unigram smoothing needs them, and counting a million transcripts takes its time
    is_unigram = options.label_smoothing == 'unigram'
    frequencies = symbol_frequencies(train_index, run.vocabulary).tolist() if is_unigram else ()

    return TrainingTask(
        loss_fn=training_loss(run.config, frequencies, recurrence),
        make_pipeline=lambda: Pipeline(loader.batch, run.config.model.features),
        plan=plan,
        frames=index.frames,
        name_row=index.where,
        validate=validate,  # type: ignore[arg-type]
        loss_unit=model.loss_unit,
        plan_all=functools.partial(plan, rows_of=None),
        frozen=run.config.model.layers[: options.freeze],
    )


def training_loss(
    config: RunConfig, frequencies: Sequence[float] = (), recurrence: str = 'loop'
) -> Callable[..., StepLoss]:
    """The loss function of a run's model for the trainer: from (batch, steps done, seed) to a `StepLoss`.

    Args:
      config: configuration of the run.
      frequencies: relative frequency of each symbol, for unigram smoothing; see `models.Criterion`.
      recurrence: form of the recurrent layers; see `models.layers.Phase`.
    """
    model, options = models.get(config.model), config.train
    sampling = options.label_smoothing, tuple(frequencies), options.sample_prob

    def loss_fn(batch, step, seed):
        dtype = tf.as_dtype(options.dtype)
        phase = Phase(True, options.keep_prob, seed=seed, dtype=dtype, step=step, recurrence=recurrence)
        criterion = models.Criterion(*sampling, options.ctc_smoothing, _ctc_weight(config, step))
        features = phase.noise(batch.features, options.input_noise)
        with _weight_noise(phase, options):
            output = model.forward(features, batch.feature_lengths, config.model, phase)
            losses = model.losses(output, batch.labels, batch.label_lengths, config.model, phase, criterion)
        return StepLoss(losses, phase.statistics)

    return loss_fn


def _ctc_weight(config: RunConfig, step: tf.Tensor) -> tf.Tensor | None:
    """Share of the CTC head of las in the loss of a step; None: it stays that of the model."""
    options, start = config.train, config.model.ctc_weight
    if not options.ctc_weight_steps:
        return None
    done = tf.minimum(tf.cast(step, tf.float32) / options.ctc_weight_steps, 1)
    return start + done * (options.ctc_weight_end - start)


def _weight_noise(phase: Phase, options: TrainConfig) -> contextlib.AbstractContextManager:
    """Scope of the noise on the weights of a training step."""
    if not options.weight_noise:
        return contextlib.nullcontext()
    return phase.noisy_weights(tf.where(phase.step >= options.weight_noise_from_step, options.weight_noise, 0.0))
