"""Graph functions of a trained run, from samples to log-probabilities and text, with the weights as its variables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import tensorflow.compat.v1 as tf

import models
from models import las_inference, streaming
from models.ctc import posteriors
from models.layers import Phase
from utils.data.feature_stream import DELTA_REACH
from utils.data.features import NUM_CEPSTRA, FeatureSpec
from utils.errors import DataError
from utils.export.features_graph import FeatureGraph
from utils.run_directory import Run
from utils.train.checkpoint import Checkpoints
from utils.train.checkpoint_files import read_values


class Chunk(NamedTuple):
    """Results of a chunk of a recording.

    Attributes:
      log_probs: `[1, frames, classes]`.
      is_frame: bool `[1, frames]`, False before the first output frame of the recording and after its last.
      is_done: bool `[1]`, whether the last output frame of the recording is among these or was before.
      state, position: state and position of the next chunk.
      state_size: number of values in the state.
    """

    log_probs: tf.Tensor
    is_frame: tf.Tensor
    is_done: tf.Tensor
    state: tf.Tensor
    position: tf.Tensor
    state_size: int


class RunGraph(tf.Module):
    """Model, weights and features of a run, as graph functions to be called within a `tf.function`.

    Args:
      run: the run.
      checkpoint: `best`, `latest` or `average`.

    Attributes:
      config, vocabulary, spec: `ModelConfig`, `Vocabulary` and `FeatureSpec` of the run.
      secs_per_frame: seconds between output frames.
      checkpoint: name of the checkpoint.

    Raises:
      DataError: the run has no such checkpoint, or it is damaged or of another model.
    """

    def __init__(self, run: Run, checkpoint: str):
        super().__init__()
        self.config, self.vocabulary, self._statistics = run.config.model, run.vocabulary, run.statistics
        self.spec = FeatureSpec.parse(run.config.feature_spec)
        self._model = models.get(self.config)
        self.secs_per_frame = self._model.time_stride * self.spec.winstep_secs
        checkpoints = Checkpoints(run.path)
        self.checkpoint = checkpoints.resolve(checkpoint)
        self._path = checkpoints.prefix(self.checkpoint)
        self._values, self._weights = read_values(self._path), dict[str, tf.Variable]()

    @property
    def samples_per_frame(self) -> int:
        """Samples from one output frame to the next."""
        return self.spec.step * self._model.time_stride

    @property
    def _carried_frames(self) -> int:
        """Frames by which those of a chunk begin before it, so that the last one is complete; whole output frames."""
        stride = self._model.time_stride
        return -(-max(0, self.spec.window - self.spec.step) // self.samples_per_frame) * stride

    @contextmanager
    def _variables(self) -> Iterator[None]:
        """Gives `models` the values of the module's variables, read from the checkpoint, in place of new variables."""
        def get(getter, name, shape=None, **_):
            return self._variable(name, shape)

        with tf.variable_scope('', custom_getter=get):
            yield

    def _variable(self, name: str, shape) -> tf.Tensor:
        if name not in self._weights:
            value = self._values.get(name)
            if value is None or (shape is not None and list(value.shape) != tf.TensorShape(shape).as_list()):
                raise DataError(f'{self._path}: holds other variables than the model of config.json; restore either')
            with tf.init_scope():  # not in the graph that is being built
                self._weights[name] = tf.Variable(value, trainable=False, name=name)
        return tf.convert_to_tensor(self._weights[name])

    def _normalised(self, features: tf.Tensor) -> tf.Tensor:
        return (tf.cast(features, tf.float32) - self._statistics.mean) / self._statistics.std

    @staticmethod
    def _within(first: tf.Tensor, count: int, limit: tf.Tensor) -> tf.Tensor:
        """Which of the numbers from ``first`` `[1]` on are at least 0 and below ``limit`` `[1]`, `[1, count]`."""
        numbers = first[:, tf.newaxis] + tf.range(count)
        return (numbers >= 0) & (numbers < limit[:, tf.newaxis])

    def _forward(self, samples, num_samples, features, recurrence):
        """Output of the model, and which recordings are as long as a window."""
        found, num_frames = features.whole(samples, tf.maximum(0, tf.minimum(num_samples, tf.shape(samples)[1])))
        with self._variables():
            output = self._model.forward(self._normalised(found), num_frames, self.config, Phase(recurrence=recurrence))
        return output, num_frames > 0

    def ctc(
        self, samples: tf.Tensor, num_samples: tf.Tensor, features: FeatureGraph, recurrence: str = 'loop'
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probabilities of a CTC model.

        Args:
          samples: float32 `[batch, samples]` at 16 kHz, full scale [-1, 1].
          num_samples: int32 `[batch]`, samples of each recording; those beyond are ignored.
          features: the features of the run.
          recurrence: form of the recurrent layers; see `models.layers.Phase`.

        Returns:
          `[batch, frames, classes]`, 0 beyond each length, and int32 `[batch]`, output frames.
        """
        output, _ = self._forward(samples, num_samples, features, recurrence)
        log_probs = posteriors(output)
        mask = tf.sequence_mask(output.lengths, tf.shape(log_probs)[1])
        return tf.where_v2(mask[..., tf.newaxis], log_probs, 0.0), output.lengths

    def spelling(
        self, samples: tf.Tensor, num_samples: tf.Tensor, features: FeatureGraph
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Greedy symbols of a model with attention; arguments as for `ctc`.

        Returns:
          Ids int32 and log-probabilities `[batch, symbols]`, 0 beyond each length; int32 `[batch]`, symbols.
        """
        output, is_long_enough = self._forward(samples, num_samples, features, 'loop')
        with self._variables():
            found = las_inference.greedy(output, self.config, self.secs_per_frame)
        lengths = tf.where_v2(is_long_enough, found.lengths, 0)
        mask = tf.sequence_mask(lengths, tf.shape(found.ids)[1])
        return tf.where_v2(mask, found.ids, 0), tf.where_v2(mask, found.log_probs, 0.0), lengths

    def text(self, ids: tf.Tensor, is_symbol: tf.Tensor) -> tf.Tensor:
        """Texts, string `[batch]`, of the ids `[batch, symbols]` that are symbols; white space as in run_predict.py."""
        tokens = tf.constant([*self.vocabulary.tokens, ''])
        pieces = tf.where_v2(is_symbol, tf.gather(tokens, ids), '')
        if self.vocabulary.separator:
            pieces = tf.where_v2(is_symbol, self.vocabulary.separator + pieces, '')
        texts = tf.strings.regex_replace(tf.strings.reduce_join(pieces, 1), ' +', ' ')
        return tf.strings.strip(texts)

    def chunk(
        self, samples: tf.Tensor, state: tf.Tensor, position: tf.Tensor, num_samples: tf.Tensor, features: FeatureGraph
    ) -> Chunk:
        """Log-probabilities of a chunk of a recording, by a ds2 of one direction.

        The state holds the samples before the chunk that its first frames need, for deltas the frames before it, and
        the state of the model. Outputs are late by what they need of the future.

        Args:
          samples: `[1, samples]`, a multiple of `TIME_STRIDE` frame steps.
          state: `[1, state_size]`; a recording begins with zeros.
          position: int32 `[1]`, samples before the chunk.
          num_samples: int32 `[1]`, samples of the recording, from the chunk with the last one on; before that, more.
          features: the features of the run.
        """
        step, stride = self.spec.step, self._model.time_stride
        carried, context = self._carried_frames * step + 1, 2 * DELTA_REACH * (self.spec.featlen == 39)
        num_frames = features.num_frames(num_samples)
        first = position // step - self._carried_frames
        joined = tf.concat([state[:, :carried], samples], 1)
        signal = features.signal(joined, position - carried, num_samples)
        count = int(samples.shape[1]) // step
        found = features.frames(signal)[:, :count]
        found = tf.where_v2(self._within(first, count, num_frames)[..., tf.newaxis], found, 0.0)
        kept = [joined[:, -carried:]]
        if context:
            size = context * NUM_CEPSTRA
            before = tf.reshape(state[:, carried : carried + size], [1, context, NUM_CEPSTRA])
            found = tf.concat([before, found], 1)
            kept.append(tf.reshape(found[:, -context:], [1, size]))
            found = features.with_deltas(found, first - context, num_frames)[:, DELTA_REACH : DELTA_REACH + count]
            carried, first = carried + size, first - DELTA_REACH
        is_inside = self._within(first, count, num_frames)
        found = tf.where_v2(is_inside[..., tf.newaxis], self._normalised(found), 0.0)
        start, length = first // stride, (num_frames + stride - 1) // stride
        with self._variables():
            output = streaming.forward(found, start, length, state[:, carried:], self.config)
        log_probs = tf.transpose(tf.nn.log_softmax(output.logits), [1, 0, 2])
        start -= streaming.delay(self.config)
        is_frame, is_done = self._within(start, count // stride, length), start + count // stride >= length
        state = tf.concat([*kept, output.state], 1)
        return Chunk(log_probs, is_frame, is_done, state, position + int(samples.shape[1]), carried + output.state_size)
