"""Deep Speech 2 in one direction, a chunk of frames at a time, with explicit state.

The layers and variables are those of `deepspeech2.forward`. A layer that looks ahead returns its outputs late: the
convolutions by the future frames of their kernels, the lookahead convolution by its own. Every layer keeps the inputs
that its next outputs need, so a chunk of n output frames costs n frames of each layer. Outputs before the beginning and
after the end are masked, which makes them the zero padding that the whole recording has there.
"""

import math
from functools import partial
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.cells import NUM_STATES, STEPS, Activation
from models.config import ModelConfig
from models.convolution import FRONT_ENDS, TIME_STRIDE, convolution
from models.fast.dft_convolution import same_padding
from models.fast.ops import matmul
from models.fast.portable import unrolled
from models.layers import ACTIVATIONS, Phase, dense, lookahead
from models.rnn import recurrent_layer


class ChunkOutput(NamedTuple):
    """Output of a chunk.

    Attributes:
      logits: `[frames, batch, classes]`, the blank last; the first frame is number ``start - delay(config)``.
      state: `[batch, state_size]`, for the next chunk.
      state_size: number of values in a state; a recording begins with zeros.
    """

    logits: tf.Tensor
    state: tf.Tensor
    state_size: int


class _State:
    """The flat states of a batch: parts are taken in the order of the layers, and new ones kept in the same order."""

    def __init__(self, flat: tf.Tensor):
        self._flat, self._new, self.size = flat, list[tf.Tensor](), 0

    def take(self, *shape: int) -> tf.Tensor:
        """The next part, `[batch, *shape]`."""
        first, self.size = self.size, self.size + math.prod(shape)
        return tf.reshape(self._flat[:, first : self.size], [tf.shape(self._flat)[0], *shape])

    def keep(self, part: tf.Tensor) -> None:
        self._new.append(tf.reshape(part, [tf.shape(part)[0], math.prod(part.shape.as_list()[1:])]))

    def new(self) -> tf.Tensor:
        return tf.concat(self._new, 1)


def delay(config: ModelConfig) -> int:
    """Output frames by which the logits are late: the future that they depend on."""
    layers = FRONT_ENDS[config.conv_layers]
    return sum(_lag(kernel[0], strides[0]) for _, kernel, strides in layers) + config.lookahead_frames


def _lag(kernel: int, stride: int) -> int:
    """Output frames by which a convolution is late: those whose kernels reach beyond its input."""
    return math.ceil((kernel - (kernel - 1) // 2 - stride) / stride)


def forward(
    features: tf.Tensor, start: tf.Tensor, lengths: tf.Tensor, state: tf.Tensor, config: ModelConfig
) -> ChunkOutput:
    """Logits of a chunk of each recording, equal to those that `deepspeech2.forward` computes of the whole.

    Args:
      features: `[batch, TIME_STRIDE · frames, features]`, normalised, zero after the end of the recording.
      start: int32 `[batch]`, output frames before this chunk.
      lengths: int32 `[batch]`, output frames of the whole recording; while it goes on, more than there will ever be.
      state: `[batch, state_size]`, as the chunk before returned it.
      config: configuration of a ds2 of one direction.
    """
    memory, phase, lag = _State(state), Phase(), 0
    numbers = start[:, tf.newaxis] + tf.range(tf.shape(features)[1] // TIME_STRIDE)

    def mask():
        """1 for the frames of the recording among the outputs of the layer, `[batch, frames]`."""
        return tf.cast((numbers >= lag) & (numbers - lag < lengths[:, tf.newaxis]), tf.float32)

    x = features[..., tf.newaxis]
    for i, (channels, kernel, strides) in enumerate(FRONT_ENDS[config.conv_layers], 1):
        reach = _lag(kernel[0], strides[0])
        context = strides[0] * reach + (kernel[0] - 1) // 2
        x = tf.concat([memory.take(context, int(x.shape[2]), int(x.shape[3])), x], 1)
        memory.keep(tf.ensure_shape(x[:, -context:], [None, context, *x.shape[2:]]))
        lag += reach
        x, _ = convolution(
            x, lengths, channels, kernel, strides, phase, config.batch_norm, f'conv{i}', _inside, mask()
        )
    x = tf.transpose(tf.reshape(x, [-1, tf.shape(x)[1], int(x.shape[2]) * int(x.shape[3])]), [1, 0, 2])
    for i in range(1, config.rnn_layers + 1):
        x = recurrent_layer(
            x,
            tf.transpose(mask())[..., tf.newaxis],
            config.hidden_units,
            f'rnn{i}',
            cell=config.rnn_cell,
            activation=config.activation,
            bidirectional=False,
            use_batch_norm=config.batch_norm,
            run=partial(_resume, memory),
            phase=phase,
        )
    future, frames = config.lookahead_frames, tf.shape(x)[0]
    before = memory.take(future, config.hidden_units)
    x = tf.concat([tf.transpose(before, [1, 0, 2]), x], 0)
    last = tf.transpose(x[frames:], [1, 0, 2])
    memory.keep(tf.ensure_shape(last, [None, future, config.hidden_units]))
    x = lookahead(x, future, 'lookahead')[:frames]
    for i in range(1, config.dense_layers + 1):
        x = ACTIVATIONS[config.activation].function(dense(x, config.hidden_units, f'dense{i}'))
    return ChunkOutput(dense(x, config.classes, 'output'), memory.new(), memory.size)


def _inside(x: tf.Tensor, kernel: tf.Tensor, time_stride: int, freq_stride: int) -> tf.Tensor:
    """Convolution without padding in time; otherwise as `models.convolution.conv2d`."""
    low, high = same_padding(int(x.shape[2]), int(kernel.shape[1]), freq_stride)
    x = tf.pad(x, [[0, 0], [0, 0], [low, high], [0, 0]])
    return tf.nn.conv2d(x, kernel, [1, time_stride, freq_stride, 1], 'VALID')


def _resume(
    memory: _State, cell: str, x: tf.Tensor, u: tf.Tensor, mask: tf.Tensor, activation: Activation, reverse: bool
) -> tf.Tensor:
    """`recurrence` forwards from the state in memory; frames that are masked leave the state as it is."""
    assert not reverse
    first = [memory.take(int(u.shape[0])) for _ in range(NUM_STATES[cell])]
    if x.shape[0] is not None:  # a chunk of fixed size needs no loop
        outputs, last = unrolled(cell, x, u, mask, first, activation)
        for each in last:
            memory.keep(each)
        return outputs

    def step(state, frame):
        new, _ = STEPS[cell](frame[0], matmul(state[0], u), state, activation)
        return [tf.where_v2(frame[1] > 0, after, before) for after, before in zip(new, state, strict=True)]

    states = tf.scan(step, (x, mask), first)
    for each in states:
        memory.keep(each[-1])
    return states[0]
