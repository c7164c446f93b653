"""Two-dimensional convolution by DFT, with its own gradient; `models.convolution` defines the padding.

Time is cut into overlapping blocks of BLOCK frames (overlap-save). A frequency stride of s makes s interleaved signals,
the phases, each of stride 1. Both transforms are GEMMs with small constant matrices; real and imaginary parts are
rows of real matrices. The order of axes lets each GEMM leave its result where the next one needs it:
`[..., channels, block]` throughout; only input and output are transposed. A complex number is always (re, im).

The forward pass keeps the input's spectrum for the kernel's gradient: 2 to 3 times the input's size.
"""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

BLOCK = 32  # frames; longer blocks overlap less, but their kernel spectra grow in proportion


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of a static axis, before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def spread(size: int, kernel: int, stride: int) -> np.ndarray:
    """`[size · outputs, kernel]`: 1 where an input meets a tap of the kernel for an output."""
    low, _ = same_padding(size, kernel, stride)
    outputs = -(-size // stride)
    tap = np.arange(size)[:, None] + low - stride * np.arange(outputs)
    return (tap[..., None] == np.arange(kernel)).astype(np.float32).reshape(size * outputs, kernel)


def _roots(rows, columns, size, sign=-1):
    """exp(sign · 2πi · rows · columns / size), `[rows, columns]`."""
    return np.exp(sign * 2j * np.pi * (np.outer(rows, columns) % size) / size)


def _real(matrix):
    """A complex matrix as a real one, `[rows, re/im out, re/im in, columns]`."""
    return np.stack([np.stack([matrix.real, -matrix.imag], 1), np.stack([matrix.imag, matrix.real], 1)], 1)


class Plan:
    """Sizes and constant matrices of the transforms, computed in float64.

    Attributes:
      stride, taps: number of phases; taps of the kernel in each.
      block, hop, time_bins: frames of a block; new frames per block; bins of half the spectrum of a real block.
      freq_bins, outputs: bins of the spectrum and outputs of one phase.
      time: `[time_bins · 2, block]`;                 inverse_time: `[hop, time_bins · 2]`.
      freq: `[freq_bins · phases · 2, 2 · frequency]`;  inverse_freq: `[2 · outputs, freq_bins · 2]`.
      kernel_time: `[time_bins · 2, kernel_time · 2]`;  kernel_freq: `[freq_bins · phases · 2, 2 · taps · phases]`.
    """

    def __init__(self, kernel_time: int, kernel_freq: int, width: int, stride: int):
        low, _ = same_padding(width, kernel_freq, stride)
        self.stride = stride
        self.block = max(BLOCK, 2 * (kernel_time - 1))
        self.hop, self.time_bins = self.block - kernel_time + 1, self.block // 2 + 1
        self.outputs, self.taps = -(-width // stride), -(-kernel_freq // stride)
        first, last = low // stride, (width - 1 + low) // stride
        # the zeros of the two margins may coincide; only real inputs must not wrap round into the outputs' windows
        self.freq_bins = max(self.outputs + self.taps - 1 - first, last + 1)
        half, bins = np.arange(self.time_bins), np.arange(self.freq_bins)
        time = _roots(half, np.arange(self.block), self.block)
        weight = np.where((half == 0) | (2 * half == self.block), 1, 2) / self.block
        self.time = np.stack([time.real, time.imag], 1).reshape(-1, self.block)
        inverse = time[:, : self.hop].T * weight
        self.inverse_time = np.stack([inverse.real, inverse.imag], 2).reshape(self.hop, -1)
        self.freq = self._phases(np.arange(width) + low, stride)
        inverse = _real(_roots(np.arange(self.outputs), bins, self.freq_bins, 1) / self.freq_bins)
        self.inverse_freq = inverse.transpose(1, 0, 3, 2).reshape(2 * self.outputs, -1)
        # the second column of each frame is i times the first: see _kernel_spectrum
        kernel = time[:, :kernel_time, None] * np.array([1, 1j])
        self.kernel_time = np.stack([kernel.real, kernel.imag], 1).reshape(2 * self.time_bins, -1)
        self.kernel_freq = self._phases(np.arange(self.taps * stride), stride)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(self, name, value.astype(np.float32))

    def _phases(self, places, stride):
        """DFT of each phase; input i is at place // stride of phase place % stride."""
        matrix = _real(_roots(np.arange(self.freq_bins), places // stride, self.freq_bins))
        chosen = places % stride == np.arange(stride)[:, None]  # [phase, input]
        return (matrix[:, None] * chosen[:, None, None]).reshape(self.freq_bins * stride * 2, -1)


_plan = functools.cache(Plan)


class _Blocks:
    """Cuts a batch into overlapping blocks, `[frame · frequency · channels, block]`, and joins blocks."""

    def __init__(self, x, kernel_time, plan):
        self.block, self.hop, self.overlap = plan.block, plan.hop, kernel_time - 1
        self.before = (kernel_time - 1) // 2
        self.batch, self.frames = tf.shape(x)[0], tf.shape(x)[1]
        self.blocks = (self.frames + self.hop - 1) // self.hop
        self.used = self.batch * self.blocks
        # Rows a multiple of 4 KB apart map to the same cache lines, which doubles the time of the wide GEMMs; an unused
        # block makes the number of blocks odd.
        self.spare = 1 - self.used % 2

    def cut(self, x):
        """Cuts the input into overlapping blocks."""
        row = x.shape[2] * x.shape[3]
        length = self.blocks * self.hop + self.overlap
        x = tf.pad(x, [[0, 0], [self.before, length - self.before - self.frames], [0, 0], [0, 0]])
        first = tf.range(self.batch)[:, None] * length + self.hop * tf.range(self.blocks)
        first = tf.pad(tf.reshape(first, [-1]), [[0, self.spare]])
        index = tf.reshape(first[:, None] + tf.range(self.block), [-1])
        return tf.transpose(tf.reshape(tf.gather(tf.reshape(x, [-1, row]), index), [-1, self.block * row]))

    def cut_gradient(self, dx, width, channels):
        """Gradient of `cut`: overlap-add."""
        dx = tf.reshape(tf.transpose(dx)[: self.used], [self.batch, self.blocks, self.block, width * channels])
        new = tf.pad(dx[:, :, : self.hop], [[0, 0], [0, 1], [0, 0], [0, 0]])
        old = tf.pad(dx[:, :, self.hop :], [[0, 0], [1, 0], [0, self.hop - self.overlap], [0, 0]])
        dx = tf.reshape(new + old, [self.batch, (self.blocks + 1) * self.hop, width, channels])
        return dx[:, self.before : self.before + self.frames]

    def join(self, y, outputs, channels):
        """Concatenates output blocks, which do not overlap."""
        y = tf.transpose(tf.reshape(y, [self.hop * outputs * channels, self.used + self.spare]))[: self.used]
        return tf.reshape(y, [self.batch, self.blocks * self.hop, outputs, channels])[:, : self.frames]

    def join_gradient(self, dy):
        """Gradient of `join`: cuts without overlap."""
        row = dy.shape[2] * dy.shape[3]
        dy = tf.pad(dy, [[0, 0], [0, self.blocks * self.hop - self.frames], [0, 0], [0, 0]])
        return tf.transpose(tf.pad(tf.reshape(dy, [self.used, self.hop * row]), [[0, self.spare], [0, 0]]))


def _for_each_time_bin(matrix, x):
    """matrix · x[bin], from `[time_bins, columns, ...]` to `[time_bins, rows, ...]`."""
    return tf.matmul(tf.tile(matrix[None], [tf.shape(x)[0], 1, 1]), x)


def _kernel_spectrum(kernel, p):
    """Matrix of every bin, `[time_bins · freq_bins, phases · 2 · in, 2 · out]`.

    With W the kernel's spectrum, correlation is Y = conj(W) · X; in real numbers (Y_re, Y_im) = (X_re, X_im) · [W, iW],
    with each complex number in the brackets as a column. So the transforms of W and iW, side by side, are this matrix.
    """
    frames, kernel_freq, inputs, channels = kernel.shape.as_list()
    kernel = tf.pad(kernel, [[0, 0], [0, p.stride * p.taps - kernel_freq], [0, 0], [0, 0]])
    left = tf.pad(kernel, [[0, 0], [0, 0], [0, 0], [0, channels]])
    right = tf.pad(kernel, [[0, 0], [0, 0], [0, 0], [channels, 0]])
    w = tf.matmul(p.kernel_time, tf.reshape(tf.stack([left, right], 1), [2 * frames, -1]))
    w = tf.reshape(w, [p.time_bins, 2 * p.taps * p.stride, 2 * inputs * channels])
    return tf.reshape(_for_each_time_bin(p.kernel_freq, w), [-1, p.stride * 2 * inputs, 2 * channels])


def _kernel_gradient(dw, shape, p):
    """Gradient of `_kernel_spectrum`."""
    frames, kernel_freq, inputs, channels = shape
    dw = tf.reshape(dw, [p.time_bins, p.freq_bins * p.stride * 2, 2 * inputs * channels])
    dw = tf.matmul(p.kernel_time.T, tf.reshape(_for_each_time_bin(p.kernel_freq.T, dw), [2 * p.time_bins, -1]))
    dw = tf.reshape(dw, [frames, 2, p.taps * p.stride, inputs, 2 * channels])
    return (dw[:, 0, ..., :channels] + dw[:, 1, ..., channels:])[:, :kernel_freq]


def conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """`models.convolution.conv2d` for a time stride of 1 and a kernel at least `stride` frequencies wide."""
    shape = kernel.shape.as_list()
    kernel_time, kernel_freq, inputs, channels = shape
    width = int(x.shape[2])
    p = _plan(kernel_time, kernel_freq, width, stride)
    blocks = _Blocks(x, kernel_time, p)
    bins = p.time_bins * p.freq_bins

    @tf.custom_gradient
    def convolve(x, kernel):
        w = _kernel_spectrum(kernel, p)
        z = tf.matmul(p.time, tf.reshape(blocks.cut(x), [p.block, -1]))
        z = _for_each_time_bin(p.freq, tf.reshape(z, [p.time_bins, 2 * width, -1]))
        z = tf.reshape(z, [bins, stride * 2 * inputs, -1])
        y = tf.reshape(tf.matmul(w, z, transpose_a=True), [p.time_bins, p.freq_bins * 2, -1])
        y = tf.reshape(_for_each_time_bin(p.inverse_freq, y), [2 * p.time_bins, -1])
        y = tf.matmul(p.inverse_time, y)

        def gradient(dy):
            dy = tf.reshape(blocks.join_gradient(dy), [p.hop, -1])
            dy = tf.reshape(tf.matmul(p.inverse_time.T, dy), [p.time_bins, 2 * p.outputs, -1])
            dy = tf.reshape(_for_each_time_bin(p.inverse_freq.T, dy), [bins, 2 * channels, -1])
            d_kernel = _kernel_gradient(tf.matmul(z, dy, transpose_b=True), shape, p)
            dz = tf.reshape(tf.matmul(w, dy), [p.time_bins, p.freq_bins * stride * 2, -1])
            dz = tf.reshape(_for_each_time_bin(p.freq.T, dz), [2 * p.time_bins, -1])
            dx = tf.reshape(tf.matmul(p.time.T, dz), [p.block * width * inputs, blocks.used + blocks.spare])
            return blocks.cut_gradient(dx, width, inputs), d_kernel

        return blocks.join(y, p.outputs, channels), gradient

    return convolve(x, kernel)
