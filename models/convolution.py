"""Convolutions over time × frequency (Deep Speech 2, section 3.5), in the form that is fastest on the device.

The layout is `[batch, time, frequency, channels]`. Time is padded explicitly, with (kernel - 1) // 2 frames before:
output frame o is centred on input frame o · stride whatever the batch's length, so padded frames change nothing.
(TensorFlow's SAME shifts by a frame between odd and even lengths when the stride is 2.) Frequency is padded SAME.

On a CPU `tf.nn.conv2d` reaches a fraction of the machine's speed; the forms below are faster.
scripts/benchmark/convolution.py compares them.
"""

from collections.abc import Callable

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.fast import dft_convolution, portable
from models.layers import Phase, batch_norm, clipped_relu

# (channels, (frames, frequencies), strides): table 3 of the paper, whose kernels are written frequency × time.
# Time is halved once, by the first layer.
FRONT_ENDS = {
    1: [(32, (11, 41), (2, 2))],
    2: [(32, (11, 41), (2, 2)), (32, (11, 21), (1, 2))],
    3: [(32, (11, 41), (2, 2)), (32, (11, 21), (1, 2)), (96, (11, 21), (1, 2))],
}
TIME_STRIDE = 2
FORMS = ('plain', 'frequency_first', 'patches', 'dft')
MIN_DFT_TAPS = 64  # with fewer taps the transforms cost more than they save
MIN_DFT_CHANNELS = 8  # the spectra are multiplied as [channels in · channels out] matrices, which must not be thin
MAX_PATCHES_WIDTH = 1.25  # of the kernel's: beyond it the kernel spread over frequency is mostly zeros


def output_length(length, stride: int):
    """Number of frames or frequencies after a convolution, ceil(length / stride), for an int, an array or a tensor."""
    return (length + stride - 1) // stride


def front_end(
    features: tf.Tensor, lengths: tf.Tensor, config: ModelConfig, phase: Phase
) -> tuple[tf.Tensor, tf.Tensor]:
    """Front end of Deep Speech 2: `config.conv_layers` convolutions.

    Args:
      features: `[batch, time, features]`, normalised.
      lengths: int32 `[batch]`, frames.
      config: model configuration.
      phase: training or inference.

    Returns:
      `[time / 2, batch, units]`, zero beyond the new lengths, and the new lengths.
    """
    mask = tf.expand_dims(tf.sequence_mask(lengths, tf.shape(features)[1], features.dtype), 2)
    x = tf.expand_dims(features * mask, 3)
    for i, (channels, kernel, strides) in enumerate(FRONT_ENDS[config.conv_layers], 1):
        x, lengths = convolution(x, lengths, channels, kernel, strides, phase, config.batch_norm, f'conv{i}')
    x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], int(x.shape[2]) * int(x.shape[3])])
    return tf.transpose(x, [1, 0, 2]), lengths


def convolution(
    x: tf.Tensor,
    lengths: tf.Tensor,
    channels: int,
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    phase: Phase,
    use_batch_norm: bool,
    scope: str,
    convolve: Callable | None = None,
    mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One layer of the front end: convolution, batch norm, clipped ReLU, mask.

    Args:
      x: `[batch, time, frequency, channels]`, zero beyond each length.
      lengths: int32 `[batch]`, frames.
      channels: output channels.
      kernel_size: (frames, frequencies).
      strides: (frames, frequencies).
      phase: training or inference.
      use_batch_norm: normalise each channel before the non-linearity.
      scope: name of the variables.
      convolve: convolution in place of `conv2d`, with its first four arguments.
      mask: `[batch, time out]`, 1 for real frames; None: those within the lengths.

    Returns:
      `[batch, time / stride, frequency / stride, channels]`, zero beyond the new lengths, and the new lengths.
    """
    with tf.variable_scope(scope):
        shape = [*kernel_size, int(x.shape[3]), channels]
        kernel = tf.get_variable('kernel', shape, initializer=tf.glorot_uniform_initializer())
        bias = tf.get_variable('bias', [channels], initializer=tf.zeros_initializer())
        dtype = tf.float16 if phase.dtype == tf.float16 else x.dtype  # bfloat16 would lose bits of the DFT's spectra
        arguments = tf.cast(x, dtype), tf.cast(tf.convert_to_tensor(kernel), dtype)
        convolve = convolve or (portable.conv2d if phase.recurrence == 'portable' else conv2d)
        y = tf.cast(convolve(*arguments, *strides), x.dtype)
        frequencies = int(y.shape[2])
        lengths = output_length(lengths, strides[0])
        mask = tf.sequence_mask(lengths, tf.shape(y)[1], y.dtype) if mask is None else mask
        mask = tf.reshape(mask, [-1, 1])
        rows = tf.reshape(y, [-1, frequencies * channels])
        if use_batch_norm:
            rows = batch_norm(rows, mask, bias, phase, 'batch_norm', repeats=frequencies)
        else:
            rows += tf.tile(bias, [frequencies])
        rows = clipped_relu(rows) * mask
    y = tf.reshape(rows, tf.shape(y))
    y.set_shape([None, None, frequencies, channels])
    return y, lengths


def conv2d(
    x: tf.Tensor,
    kernel: tf.Tensor,
    time_stride: int,
    freq_stride: int,
    form: str = 'auto',
    device_type: str | None = None,
) -> tf.Tensor:
    """Cross-correlates x with the kernel; every form has the gradients by x and kernel.

    Args:
      x: `[batch, time, frequency, channels in]`, zero on padding; frequency and channels are static.
      kernel: `[kernel time, kernel frequency, channels in, channels out]`, a tensor of static shape.
      time_stride: frames from one output to the next.
      freq_stride: frequencies from one output to the next.
      form: one of FORMS, or 'auto' for the fastest.
      device_type: 'CPU' or 'GPU'; None asks TensorFlow what the machine has.

    Returns:
      `[batch, ceil(time / time_stride), ceil(frequency / freq_stride), channels out]`.

    Raises:
      ValueError: the form is unknown or cannot compute these strides.
    """
    kernel_time, kernel_freq, _, channels = kernel.shape.as_list()
    if form == 'auto':
        form = _fastest_form(x, kernel, time_stride, freq_stride, device_type)
    if form not in FORMS:
        raise ValueError(f'form is {form!r}; it must be auto or one of {", ".join(FORMS)}')
    if form == 'dft' and (time_stride != 1 or kernel_freq < freq_stride):
        raise ValueError('the dft form needs a time stride of 1 and a kernel at least as wide as the frequency stride')
    with tf.name_scope('conv2d'):
        if form == 'dft':
            y = dft_convolution.conv2d(x, kernel, freq_stride)
        elif form == 'patches':
            y = _patches(x, kernel, time_stride, freq_stride)
        else:
            y = _library(x, kernel, time_stride, freq_stride, form == 'frequency_first')
    frames = None if x.shape[1] is None else output_length(x.shape[1], time_stride)
    y.set_shape([x.shape[0], frames, output_length(int(x.shape[2]), freq_stride), channels])
    return y


def _fastest_form(x, kernel, time_stride, freq_stride, device_type):
    """Chooses the form, by the benchmark's measurements.

    - on a GPU: cuDNN, and so for types other than float32, which only a GPU uses;
    - one input channel and a kernel about as wide as the input (the first layer on 40 features): one GEMM of time
      patches with the kernel spread over frequency, which needs hardly more multiplications than the convolution;
    - large kernels between many channels (the later layers): the DFT needs a tenth of the multiplications;
    - otherwise: tf.nn.conv2d, frequency first, so that its vectorised loops run along the long time axis.
    """
    kernel_time, kernel_freq, inputs, channels = kernel.shape.as_list()
    if device_type is None:
        device_type = 'GPU' if tf.config.list_physical_devices('GPU') else 'CPU'
    if device_type != 'CPU' or x.dtype != tf.float32:
        return 'plain'
    if inputs == 1 and int(x.shape[2]) <= MAX_PATCHES_WIDTH * kernel_freq:
        return 'patches'
    wide = min(inputs, channels) >= MIN_DFT_CHANNELS and kernel_time * kernel_freq >= MIN_DFT_TAPS
    if wide and time_stride == 1 and kernel_freq >= freq_stride:
        return 'dft'
    return 'frequency_first'


def _library(x, kernel, time_stride, freq_stride, frequency_first):
    """tf.nn.conv2d with the padding of this module, in [batch, time, frequency] or [batch, frequency, time] layout."""
    kernel_time, kernel_freq = kernel.shape.as_list()[:2]
    if kernel_time == 1:  # oneDNN's kernel gradient is wrong for 1 × 1 kernels with some strides (TensorFlow 2.21)
        x, time_stride = x[:, ::time_stride], 1
    frames = tf.shape(x)[1]
    before = (kernel_time - 1) // 2
    used = (output_length(frames, time_stride) - 1) * time_stride + kernel_time
    low, high = dft_convolution.same_padding(int(x.shape[2]), kernel_freq, freq_stride)
    x = tf.pad(x, [[0, 0], [before, tf.maximum(used - before - frames, 0)], [low, high], [0, 0]])
    if not frequency_first:
        return tf.nn.conv2d(x, kernel, [1, time_stride, freq_stride, 1], 'VALID')
    x, kernel = tf.transpose(x, [0, 2, 1, 3]), tf.transpose(kernel, [1, 0, 2, 3])
    y = tf.nn.conv2d(x, kernel, [1, freq_stride, time_stride, 1], 'VALID')
    return tf.transpose(y, [0, 2, 1, 3])


def _spread_kernel(kernel, rows, width, freq_stride):
    """`[rows · width · in, frequencies out · out]`: each output's taps in its own columns, zeros elsewhere."""
    kernel_time, kernel_freq, inputs, channels = kernel.shape.as_list()
    bins, place = output_length(width, freq_stride), dft_convolution.spread(width, kernel_freq, freq_stride)

    @tf.custom_gradient
    def spread(kernel):
        taps = tf.pad(kernel, [[0, rows - kernel_time], [0, 0], [0, 0], [0, 0]])
        taps = tf.reshape(taps, [rows, kernel_freq, inputs * channels])
        dense = tf.matmul(tf.tile(place[None], [rows, 1, 1]), taps)
        dense = tf.transpose(tf.reshape(dense, [rows, width, bins, inputs, channels]), [0, 1, 3, 2, 4])

        def gradient(d_dense):  # TensorFlow's multiplies all rows with place, in another order: other last bits
            d_dense = tf.reshape(d_dense, [-1, width, inputs, bins, channels])[:kernel_time]
            d_dense = tf.reshape(tf.transpose(d_dense, [0, 1, 3, 2, 4]), [kernel_time, -1, inputs * channels])
            return tf.reshape(tf.matmul(tf.tile(place.T[None], [kernel_time, 1, 1]), d_dense), kernel.shape)

        return tf.reshape(dense, [rows * width * inputs, bins * channels]), gradient

    return spread(kernel)


def _patches(x, kernel, time_stride, freq_stride):
    """One GEMM: patches of time `[batch · frames out, kernel time · frequency]` by the kernel spread over frequency.

    With the stride folded into the columns, `[time / stride, stride · frequency]`, a patch is a few whole rows.
    """
    kernel_time, _, inputs, channels = kernel.shape.as_list()
    width = int(x.shape[2])
    rows = output_length(kernel_time, time_stride)  # of the folded input, in a patch
    columns = rows * time_stride * width * inputs
    batch, length = tf.shape(x)[0], tf.shape(x)[1]
    frames = output_length(length, time_stride)
    padded = (frames + rows - 1) * time_stride
    before = (kernel_time - 1) // 2
    after = tf.maximum(padded - before - length, 0)
    folded = tf.pad(x, [[0, 0], [before, after], [0, 0], [0, 0]])[:, :padded]
    folded = tf.reshape(folded, [batch, frames + rows - 1, columns // rows])
    patches = tf.reshape(tf.concat([folded[:, i : i + frames] for i in range(rows)], 2), [-1, columns])
    dense = _spread_kernel(kernel, rows * time_stride, width, freq_stride)
    return tf.reshape(tf.matmul(patches, dense), [batch, frames, output_length(width, freq_stride), channels])
