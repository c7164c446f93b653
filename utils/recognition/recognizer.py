"""A trained model in a session: features to hypotheses, for validation, testing and transcription."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow.compat.v1 as tf

import models
from models import streaming, trial
from models.config import ModelConfig
from models.layers import Phase
from utils.config import RunFlags
from utils.data.batching import BatchSize, cut
from utils.data.features import FeatureSpec, extract
from utils.data.index import Index
from utils.data.loader import Loader, pad
from utils.data.pipeline import Batch, Pipeline
from utils.decode.greedy import attention_hypotheses, best_paths
from utils.decode.hypothesis import Hypothesis
from utils.gpu.trial import choose_recurrence
from utils.recognition.posteriors import rounded, weights_id
from utils.recognition.report import Evaluation, References
from utils.recognition.streaming import require_one_direction
from utils.run_directory import Run
from utils.train.checkpoint import Checkpoints
from utils.train.checkpoint_files import restore
from utils.train.strategies import local_runtime, session_options

if TYPE_CHECKING:
    from utils.decode.decoder import Decoder


class Recognizer:
    """The inference graph of a run's model in a session; `restore` loads weights.

    Args:
      run: run whose model, vocabulary and feature statistics are used.
      decoder: decoder of CTC posteriors, or the beam search of a model with attention; None: greedy decoding.
      session_config: settings of the session; None: those of this machine.
      recurrence: form of the recurrent layers; see `models.layers.Phase`.

    Attributes:
      vocabulary: tokens of the texts.
      config: `ModelConfig` of the run.
      spec: kind of the features.
      secs_per_frame: seconds between output frames.
      weights: `weights_id` of the checkpoint that was loaded last.
    """

    def __init__(
        self,
        run: Run,
        decoder: 'Decoder | None' = None,
        session_config: tf.ConfigProto | None = None,
        recurrence: str = 'loop',
    ):
        self.vocabulary, self.config = run.vocabulary, run.config.model
        self.spec = FeatureSpec.parse(run.config.feature_spec)
        self._statistics, self._decoder, self._model = run.statistics, decoder, models.get(self.config)
        self._phase = Phase(recurrence=recurrence)
        self.weights = ''
        self.secs_per_frame = self._model.time_stride * self.spec.winstep_secs
        with tf.Graph().as_default() as graph:
            self._pipeline = Pipeline(lambda rows, _: self._load(rows), self.config.features)
            self._losses, self._greedy, self._search = self._infer(self._pipeline.batch)
            self._saver = tf.train.Saver(tf.global_variables())
        self._session = tf.Session(graph=graph, config=session_config or local_runtime().session_config)

    def _infer(self, batch: Batch) -> tuple[tf.Tensor, tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        """Losses `[batch]`, the tensors of greedy decoding, and those for the decoder."""
        model, config = self._model, self.config
        output = model.forward(batch.features, batch.feature_lengths, config, self._phase)
        losses = model.losses(output, batch.labels, batch.label_lengths, config, self._phase, models.Criterion())
        return losses, *model.infer(output, config, self.secs_per_frame, lambda: self._decoder)

    def _decode(self, *outputs: Any) -> list:
        decoder: Any = self._decoder
        if self.config.family == 'attention':
            return decoder.results() if decoder else attention_hypotheses(*outputs)
        greedy: Any = partial(best_paths, blank_id=self.config.classes - 1)
        return decoder.decode(*outputs) if decoder else greedy(*outputs)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the model's variables by name."""
        with self._session.graph.as_default():
            return {variable.op.name: tuple(variable.shape) for variable in tf.global_variables()}

    def values(self) -> dict[str, np.ndarray]:
        """Values of the model's variables by name."""
        with self._session.graph.as_default():
            return self._session.run({variable.op.name: variable for variable in tf.global_variables()})

    def restore(self, checkpoint_path: str) -> None:
        """Loads the weights of a checkpoint; one that is damaged is a `DataError`."""
        restore(self._session, self._saver, checkpoint_path)
        self.weights = weights_id(checkpoint_path)

    def extract(self, samples: np.ndarray) -> np.ndarray:
        """Features of samples at 16 kHz, as `recognize` takes them."""
        return extract(samples, self.spec)

    def recognize(self, features: Sequence[np.ndarray], batch_size: int) -> list[Hypothesis]:
        """Decodes utterances, features `[frames, features]` that are not normalised; the order is kept."""
        normalised = [self._statistics.normalise(utterance) for utterance in features]

        def load(rows):
            no_labels = np.zeros([len(rows), 1], np.int32), np.zeros(len(rows), np.int32)
            return *pad([normalised[row] for row in rows], np.float32), *no_labels, np.asarray(rows, np.int32)

        return self._run(load, np.array([len(utterance) for utterance in features]), batch_size)[0]

    def prepare(self, index: Index) -> References:
        """Prepares the transcripts of an index for `evaluate`; see `References.prepare`."""
        return References.prepare(index, self.vocabulary, self._model.frames_per_symbol)

    def evaluate(self, references: References, batch_size: int, keep_posteriors: bool = False) -> Evaluation:
        """Recognises and scores an index.

        Args:
          references: the index, as `prepare` returns it.
          batch_size: utterances per batch.
          keep_posteriors: keep the CTC posteriors that the decoder gets in `Evaluation.posteriors`.

        Raises:
          DataError: a missing or unsuitable feature file.
        """
        loader = Loader(references.index, self.vocabulary, self._statistics)
        posteriors: list | None = [None] * len(references.index) if keep_posteriors else None
        hypotheses, losses = self._run(
            lambda rows: loader.batch(rows, 0), references.index.frames, batch_size, True, posteriors=posteriors
        )
        # a transcript that does not fit its frames, or cannot be spelled, has no loss; its errors count all the same
        loss = float(np.mean(losses[references.fits])) if references.fits.any() else math.inf
        evaluation = Evaluation.score(references, hypotheses, self.vocabulary, loss, posteriors)
        return dataclasses.replace(evaluation, losses=losses)

    def attention(self, index: Index, batch_size: int) -> list[tuple[list[int], np.ndarray]]:
        """Greedy transcripts and attention of each utterance: ids of the symbols, and weights `[symbols, frames]`."""
        loader, frames = Loader(index, self.vocabulary, self._statistics), -(-index.frames // self._model.time_stride)

        def keep(ids, log_probs, lengths, end_log_probs, is_cut, weights):
            return [(row[:n].tolist(), each[:n]) for row, each, n in zip(ids, weights, lengths, strict=True)]

        found, _ = self._run(lambda rows: loader.batch(rows, 0), index.frames, batch_size, greedy=keep)
        return [(ids, weights[:, :n]) for (ids, weights), n in zip(found, frames, strict=True)]

    def _run(
        self,
        load: Callable,
        frames: np.ndarray,
        batch_size: int,
        with_loss: bool = False,
        greedy: Callable | None = None,
        posteriors: list | None = None,
    ) -> tuple[list, np.ndarray]:
        """Runs batches of similar length, the longest first; hypotheses and losses in the order of the rows.

        `greedy` replaces the decoder and greedy decoding; `posteriors` receives the log-posteriors of each row.
        """
        self._load = load
        batches = cut(np.argsort(-frames, kind='stable'), frames, BatchSize(batch_size))
        hypotheses, losses = [None] * len(frames), np.zeros(len(frames))
        self._pipeline.start(self._session, batches, 0)
        decoder = None if greedy else self._decoder
        wanted = self._search if decoder else self._greedy
        decode = greedy or self._decode
        for rows in batches:
            try:
                *outputs, batch_losses = self._session.run([*wanted, self._losses if with_loss else ()])
            except tf.errors.OpError as error:
                raise self._pipeline.explain(error) from None
            if with_loss:
                losses[rows] = batch_losses
            if posteriors is not None:
                for row, log_probs, length in zip(rows, *outputs, strict=True):
                    posteriors[row] = rounded(log_probs[:length])
            for row, hypothesis in zip(rows, decode(*outputs), strict=True):
                hypotheses[row] = hypothesis
        return hypotheses, losses


def recurrence_trial(config: ModelConfig) -> dict[str, tf.Tensor]:
    """Builds the relative differences between the forms of a model's recurrent layers, for `utils.gpu.trial`."""
    return trial.differences(config)


def recurrence_for(config: ModelConfig, wanted: str, session_config: tf.ConfigProto) -> str:
    """The form of a model's recurrent layers on this machine; see `choose_recurrence`."""
    return choose_recurrence(
        wanted, config, trial.has_cudnn(config), partial(recurrence_trial, config), session_config
    )


def load_recognizer(
    run: Run, checkpoint: str = 'best', decoder: 'Decoder | None' = None, devices: RunFlags | None = None
) -> Recognizer:
    """A recognizer with the weights of a run's `best`, `latest` or `average` checkpoint.

    Args:
      run: the run, a directory or a packed one.
      checkpoint: name of the checkpoint, or which one.
      decoder: as for `Recognizer`.
      devices: share of the GPU's memory, threads, and form of the recurrent layers; None: the
        defaults.

    Raises:
      DataError: the run has no such checkpoint.
      UsageError: cuDNN is asked for where it cannot be used.
    """
    devices = devices or RunFlags()
    config = session_options(devices.gpu_fraction, devices.intra_op_threads, devices.inter_op_threads)
    recognizer = Recognizer(run, decoder, config, recurrence_for(run.config.model, devices.recurrence, config))
    recognizer.restore(_checkpoint_path(run, checkpoint))
    return recognizer


def _checkpoint_path(run: Run, checkpoint: str) -> str:
    checkpoints = Checkpoints(run.path)
    return checkpoints.prefix(checkpoints.resolve(checkpoint))


class StreamingModel:
    """The graph of one step of a model of one direction, in a session; recordings hold their own states.

    Args:
      run: run of a ds2 of one direction.
      checkpoint: `best`, `latest` or `average`.
      session_config: settings of the session; None: those of this machine.

    Attributes:
      vocabulary, config, spec, secs_per_frame, weights: as in `Recognizer`.
      statistics: mean and deviation of the features.
      delay: output frames by which posteriors are late.
      state_size: values in the state of a recording, which begins with zeros.

    Raises:
      UsageError: another model.
      DataError: the run has no such checkpoint.
    """

    def __init__(self, run: Run, checkpoint: str = 'best', session_config: tf.ConfigProto | None = None):
        require_one_direction(run.config.model, run.path)
        self.vocabulary, self.config, self.statistics = run.vocabulary, run.config.model, run.statistics
        self.spec, self.time_stride = FeatureSpec.parse(run.config.feature_spec), models.get(self.config).time_stride
        self.secs_per_frame = self.time_stride * self.spec.winstep_secs
        self.delay = streaming.delay(self.config)
        path = _checkpoint_path(run, checkpoint)
        with tf.Graph().as_default() as graph:
            features = tf.placeholder(tf.float32, [None, None, self.config.features])
            state = tf.placeholder(tf.float32, [None, None])
            start, lengths = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int32, [None])
            output = streaming.forward(features, start, lengths, state, self.config)
            log_probs = tf.transpose(tf.nn.log_softmax(output.logits), [1, 0, 2])
            saver = tf.train.Saver(tf.global_variables())
        self.state_size = output.state_size
        self._session = tf.Session(graph=graph, config=session_config or local_runtime().session_config)
        restore(self._session, saver, path)
        self.weights = weights_id(path)
        self._run = self._session.make_callable([log_probs, output.state], [features, start, lengths, state])

    def step(
        self, features: np.ndarray, start: np.ndarray, lengths: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-posteriors `[batch, frames, classes]` and new states; arguments as in `models.streaming.forward`."""
        return self._run(features, start, lengths, states)
