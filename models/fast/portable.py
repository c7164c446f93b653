"""Layers for inference in other runtimes than TensorFlow, with the results of the other forms.

TFLite has loops but no TensorArray, and copies what a loop carries at each iteration. So an iteration of a recurrent
layer is a block of frames, one after another, and the outputs of the block are appended to those before. All paddings
are constants: the converter loses the shape of what is padded by a tensor.
"""

import tensorflow.compat.v1 as tf

from models.cells import NUM_STATES, STEPS, Activation
from models.fast.dft_convolution import same_padding

BLOCK = 16  # frames of an iteration


def conv2d(x: tf.Tensor, kernel: tf.Tensor, time_stride: int, freq_stride: int) -> tf.Tensor:
    """As `models.convolution.conv2d`."""
    kernel_time, kernel_freq = kernel.shape.as_list()[:2]
    before = (kernel_time - 1) // 2
    time = [before, kernel_time + time_stride - 2 - before]  # enough for any number of frames
    x_padded = tf.pad(x, [[0, 0], time, same_padding(int(x.shape[2]), kernel_freq, freq_stride), [0, 0]])
    y = tf.nn.conv2d(x_padded, kernel, [1, time_stride, freq_stride, 1], 'VALID')
    return y[:, : (tf.shape(x)[1] + time_stride - 1) // time_stride]


def unrolled(
    cell: str, x: tf.Tensor, u: tf.Tensor, mask: tf.Tensor, state: list[tf.Tensor], activation: Activation
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs a cell over a static number of frames without a loop; time-major, as is `recurrence`.

    Args:
      cell, u, activation: as for `models.fast.recurrence.recurrence`.
      x: projected inputs, `[frames, batch, gates · units]`.
      mask: `[frames, batch, 1]`; frames that are masked leave the state as it is.
      state: state before the first frame, tensors `[batch, units]`.

    Returns:
      Outputs `[frames, batch, units]`, and the state after the last frame.
    """
    outputs = []
    for frame, is_real in zip(tf.unstack(x), tf.unstack(mask > 0), strict=True):
        new, _ = STEPS[cell](frame, tf.matmul(state[0], u), state, activation)
        state = [tf.where_v2(is_real, after, before) for after, before in zip(new, state, strict=True)]
        outputs.append(state[0])
    return tf.stack(outputs), state


def recurrence(
    cell: str, x: tf.Tensor, u: tf.Tensor, mask: tf.Tensor, activation: Activation, reverse: bool
) -> tf.Tensor:
    """As `models.fast.recurrence.recurrence`, without a gradient; on padding every cell keeps its state."""
    if reverse:
        x, mask = tf.reverse(x, [0]), tf.reverse(mask, [0])
    units, frames, batch = int(u.shape[0]), tf.shape(x)[0], tf.shape(x)[1]
    blocks = (frames + BLOCK - 1) // BLOCK
    x, mask = (tf.pad(each, [[0, BLOCK - 1], [0, 0], [0, 0]]) for each in (x, mask))

    def step(i, outputs, state):
        frames = (tf.slice(each, [i * BLOCK, 0, 0], [BLOCK, -1, int(each.shape[2])]) for each in (x, mask))
        new, state = unrolled(cell, next(frames), u, next(frames), state, activation)
        return i + 1, tf.concat([outputs, new], 0), state

    state = [tf.zeros([batch, units], x.dtype)] * NUM_STATES[cell]
    loop = [tf.constant(0), tf.zeros([0, batch, units], x.dtype), state]
    shapes = [loop[0].shape, tf.TensorShape([None, *loop[1].shape[1:]]), [each.shape for each in state]]
    outputs = tf.while_loop(lambda i, *_: i < blocks, step, loop, shapes)[1][:frames]
    return tf.reverse(outputs, [0]) if reverse else outputs
