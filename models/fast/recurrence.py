"""Recurrent cells on one fast loop. Everything here is time-major: `[time, batch, units]`.

The input projection of all frames is one GEMM before the loop, and the loop has its own gradient: going back
it emits only the gradients of the gates' pre-activations, and every weight gradient is one GEMM after it.
TF1's `dynamic_rnn` multiplies small matrices frame by frame, forward and twice backward, and takes 2-4 times as long.
"""

import tensorflow.compat.v1 as tf

from models.cells import Activation, gru_step, lstm_step, rnn_step
from models.fast.ops import matmul

CLOSED = 1e4  # a pre-activation that makes a sigmoid exactly 0 or 1 and its derivative 0


def _loop(num_steps, body, state, outputs):
    """Runs `state, emitted = body(step, *state)`; returns the emitted tensors of all steps, stacked.

    Args:
      num_steps: int32 scalar.
      body: from (step, *state) to (frame that the outputs belong to, new state, emitted tensors).
      state: initial tensors, each `[batch, units]`.
      outputs: units of each emitted tensor.
    """
    batch = state[0].shape[0]
    arrays = [
        tf.TensorArray(state[0].dtype, num_steps, element_shape=[batch, units], infer_shape=True) for units in outputs
    ]

    def step(i, state, arrays):
        frame, new_state, emitted = body(i, *state)
        for new, old in zip(new_state, state, strict=True):
            new.set_shape(old.shape)
        return i + 1, new_state, [array.write(frame, x) for array, x in zip(arrays, emitted, strict=True)]

    _, _, arrays = tf.while_loop(
        lambda i, *_: i < num_steps, step, [tf.constant(0), list(state), arrays], parallel_iterations=32
    )
    return [array.stack() for array in arrays]


def _previous(h, reverse):
    """Each frame's predecessor in the direction of the recurrence; zeros before the first."""
    zero = tf.zeros_like(h[:1])
    return tf.concat([h[1:], zero] if reverse else [zero, h[:-1]], 0)


def _weight_gradient(inputs, d_outputs, dtype):
    """Sum over frames of inputsᵀ · d_outputs, as one GEMM; of the weight's type."""
    inputs = tf.cast(tf.reshape(inputs, [-1, inputs.shape[2]]), dtype)
    return tf.matmul(inputs, tf.cast(tf.reshape(d_outputs, [-1, d_outputs.shape[2]]), dtype), transpose_a=True)


def _gru(x, u, mask, activation: Activation, reverse: bool):
    """A layer of `gru_step`.

    Args:
      x: `[time, batch, 3 · units]`, projected inputs with biases: reset, update, candidate.
      u: `[units, 3 · units]`; its type is the one of all products here (`models.fast.precision`).
      mask: `[time, batch, 1]`; on padding the update gate is held open and the state stays.
      activation: f.
      reverse: run from the last frame to the first.
    """
    units = int(u.shape[0])
    frames, batch = tf.shape(x)[0], tf.shape(x)[1]
    gate = tf.reshape(tf.one_hot([0, 1, 0], 2, dtype=x.dtype)[:, 1:] * tf.ones([1, units], x.dtype), [3 * units])
    x += (1 - mask) * CLOSED * gate
    start = tf.zeros([batch, units], x.dtype)

    def frame_of(i):
        return frames - 1 - i if reverse else i

    @tf.custom_gradient
    def run(x, u):
        def body(i, h):
            t = frame_of(i)
            (h,), saved = gru_step(x[t], matmul(h, u), [h], activation)
            return t, [h], [h, *saved]

        h, reset_update, c, recurrent_c = _loop(frames, body, [start], [units, 2 * units, units, units])

        def gradient(dh_out):
            r, z = tf.split(reset_update, 2, 2)
            h_before = _previous(h, reverse)
            into_c = (1 - z) * activation.derivative(c)
            # what a unit of dh gives to each gate's share of the recurrent product, for all frames at once
            factors = tf.concat([into_c * recurrent_c * r * (1 - r), (h_before - c) * z * (1 - z), into_c * r], 2)
            u_transposed = tf.transpose(u)  # a small GEMM with transpose_b is 3-6 times slower

            def backward(i, dh):
                t = frame_of(frames - 1 - i)
                dh += dh_out[t]
                d_recurrent = tf.concat([dh, dh, dh], 1) * factors[t]
                return t, [matmul(d_recurrent, u_transposed) + dh * z[t]], [dh, d_recurrent]

            dh, d_recurrent = _loop(frames, backward, [start], [units, 3 * units])
            dx = tf.concat([d_recurrent[:, :, : 2 * units], dh * into_c], 2)
            return dx, _weight_gradient(h_before, d_recurrent, u.dtype)

        return h, gradient

    return run(x, u)


def _lstm(x, u, mask, activation: Activation, reverse: bool):
    """A layer of `lstm_step`; x is `[time, batch, 4 · units]`.

    On padding the input and output gates are held shut and the forget gate open. Other arguments as in `_gru`.
    """
    units = int(u.shape[0])
    frames, batch = tf.shape(x)[0], tf.shape(x)[1]
    signs = tf.constant([[-1.0], [1.0], [-1.0], [0.0]], x.dtype) * tf.ones([1, units], x.dtype)
    x += (1 - mask) * CLOSED * tf.reshape(signs, [4 * units])
    start = tf.zeros([batch, units], x.dtype)

    def frame_of(i):
        return frames - 1 - i if reverse else i

    @tf.custom_gradient
    def run(x, u):
        def body(s, h, c):
            t = frame_of(s)
            state, saved = lstm_step(x[t], matmul(h, u), [h, c], activation)
            return t, state, [*state, *saved]

        h, c, ifo, g = _loop(frames, body, [start, start], [units, units, 3 * units, units])

        def gradient(dh_out):
            i, f, o = tf.split(ifo, 3, 2)
            out = activation.function(c)
            dh_to_dc = o * activation.derivative(out)
            c_before = _previous(c, reverse)
            # what a unit of dc gives to the pre-activations of i, f and g, and a unit of dh to that of o
            factors = [g * i * (1 - i), c_before * f * (1 - f), out * o * (1 - o), i * activation.derivative(g)]
            factors = tf.concat(factors, 2)
            u_transposed = tf.transpose(u)

            def backward(s, dh, dc):
                t = frame_of(frames - 1 - s)
                dh += dh_out[t]
                dc += dh * dh_to_dc[t]
                d_gates = tf.concat([dc, dc, dh, dc], 1) * factors[t]
                return t, [matmul(d_gates, u_transposed), dc * f[t]], [d_gates]

            (d_gates,) = _loop(frames, backward, [start, start], [4 * units])
            return d_gates, _weight_gradient(_previous(h, reverse), d_gates, u.dtype)

        return h, gradient

    return run(x, u)


def _rnn(x, u, mask, activation: Activation, reverse: bool):
    """A layer of `rnn_step`, zero on padding. Arguments as in `_gru`."""
    units = int(u.shape[0])
    frames, batch = tf.shape(x)[0], tf.shape(x)[1]
    start = tf.zeros([batch, units], x.dtype)

    def frame_of(i):
        return frames - 1 - i if reverse else i

    @tf.custom_gradient
    def run(x, u):
        def body(i, h):
            t = frame_of(i)
            (h,), _ = rnn_step(x[t], matmul(h, u), [h], activation)
            h *= mask[t]
            return t, [h], [h]

        (h,) = _loop(frames, body, [start], [units])

        def gradient(dh_out):
            slope = activation.derivative(h) * mask
            u_transposed = tf.transpose(u)

            def backward(i, dh):
                t = frame_of(frames - 1 - i)
                dx = (dh + dh_out[t]) * slope[t]
                return t, [matmul(dx, u_transposed)], [dx]

            (dx,) = _loop(frames, backward, [start], [units])
            return dx, _weight_gradient(_previous(h, reverse), dx, u.dtype)

        return h, gradient

    return run(x, u)


CELLS = {'gru': _gru, 'lstm': _lstm, 'rnn': _rnn}
