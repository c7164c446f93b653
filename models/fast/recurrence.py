"""Recurrent layers as a loop with its own gradient. Everything is time-major: `[time, batch, units]`.

The input projection of all frames is one GEMM before the loop. The backward loop emits only the gradients of the
gates' pre-activations, and every weight gradient is one GEMM after it. TF1's `dynamic_rnn` multiplies small matrices
frame by frame, forward and twice backward, and takes 2-4 times as long.
"""

import tensorflow.compat.v1 as tf

from models.cells import NUM_STATES, STEPS, Activation
from models.fast.ops import matmul

CLOSED = 1e4  # a pre-activation that makes a sigmoid exactly 0 or 1 and its derivative 0
# sign of CLOSED for each gate on padded frames, where it holds the state; the plain cell has no gates and is masked
HELD = {'gru': (0.0, 1.0, 0.0), 'lstm': (-1.0, 1.0, -1.0, 0.0)}
SAVED = {'gru': (2, 1, 1), 'lstm': (3, 1), 'rnn': ()}  # gates in each tensor that a step saves for its gradient


def _loop(num_steps, body, state, outputs):
    """Runs a loop and returns the tensors that it emits, stacked over frames.

    Args:
      num_steps: int32 scalar.
      body: body(step, *state) -> (frame that the emitted tensors belong to, new state, emitted tensors).
      state: initial state, tensors `[batch, units]`.
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


def _weight_gradient(inputs, d_outputs, dtype):
    """Sum over frames of inputsᵀ · d_outputs, as one GEMM in the weight's type."""
    inputs = tf.cast(tf.reshape(inputs, [-1, inputs.shape[2]]), dtype)
    return tf.matmul(inputs, tf.cast(tf.reshape(d_outputs, [-1, d_outputs.shape[2]]), dtype), transpose_a=True)


def _gru_gradient(outputs, before, activation: Activation, mask):
    """Gradient of `gru_step` over a layer.

    Args:
      outputs: states and saved tensors of all frames, `[time, batch, ...]`.
      before: the states before each frame.
      activation: non-linearity of the candidate.
      mask: `[time, batch, 1]`.

    Returns:
      `backward(t, multiply, *d_states)` -> (gradients of the states before frame t, emitted tensors), with `multiply`
      the product with the transposed recurrent weights; the first emitted tensor is the gradient of the recurrent
      product. And a function from the emitted tensors of all frames to the gradient of the projected inputs.
    """
    _, reset_update, c, recurrent_c = outputs
    r, z = tf.split(reset_update, 2, 2)
    into_c = (1 - z) * activation.derivative(c)
    # gradient of each gate's recurrent product per unit of dh, for all frames at once
    factors = tf.concat([into_c * recurrent_c * r * (1 - r), (before[0] - c) * z * (1 - z), into_c * r], 2)

    def backward(t, multiply, dh):
        d_recurrent = tf.concat([dh, dh, dh], 1) * factors[t]
        return [multiply(d_recurrent) + dh * z[t]], [d_recurrent, dh]

    gates = 2 * int(c.shape[2])
    return backward, lambda d_recurrent, dh: tf.concat([d_recurrent[:, :, :gates], dh * into_c], 2)


def _lstm_gradient(outputs, before, activation: Activation, mask):
    """Gradient of `lstm_step` over a layer; arguments and results as in `_gru_gradient`."""
    _, c, ifo, g = outputs
    i, f, o = tf.split(ifo, 3, 2)
    out = activation.function(c)
    dh_to_dc = o * activation.derivative(out)
    # gradient of the pre-activations of i, f and g per unit of dc, of that of o per unit of dh
    factors = [g * i * (1 - i), before[1] * f * (1 - f), out * o * (1 - o), i * activation.derivative(g)]
    factors = tf.concat(factors, 2)

    def backward(t, multiply, dh, dc):
        dc += dh * dh_to_dc[t]
        d_gates = tf.concat([dc, dc, dh, dc], 1) * factors[t]
        return [multiply(d_gates), dc * f[t]], [d_gates]

    return backward, tf.identity


def _rnn_gradient(outputs, before, activation: Activation, mask):
    """Gradient of `rnn_step` over a layer; arguments and results as in `_gru_gradient`."""
    slope = activation.derivative(outputs[0]) * mask

    def backward(t, multiply, dh):
        dx = dh * slope[t]
        return [multiply(dx)], [dx]

    return backward, tf.identity


GRADIENTS = {'gru': _gru_gradient, 'lstm': _lstm_gradient, 'rnn': _rnn_gradient}


def recurrence(
    cell: str, x: tf.Tensor, u: tf.Tensor, mask: tf.Tensor, activation: Activation, reverse: bool
) -> tf.Tensor:
    """One direction of a recurrent layer, from the projected inputs to the outputs of all frames.

    On padding a gated cell keeps its state and the plain cell's is zero.

    Args:
      cell: gru, lstm or rnn.
      x: `[time, batch, gates · units]`, projected inputs with biases; the gates in the order of the cell's step.
      u: `[units, gates · units]`, recurrent weights; all products are computed in their type (`models.fast.ops`).
      mask: `[time, batch, 1]`, 1 for real frames.
      activation: non-linearity of the candidate.
      reverse: run from the last frame to the first.

    Returns:
      `[time, batch, units]`; not masked for gated cells.
    """
    units, num_states = int(u.shape[0]), NUM_STATES[cell]
    frames, batch = tf.shape(x)[0], tf.shape(x)[1]
    if cell in HELD:
        x += (1 - mask) * CLOSED * tf.repeat(tf.constant(HELD[cell], x.dtype), units)
    start = [tf.zeros([batch, units], x.dtype)] * num_states

    @tf.custom_gradient
    def run(x, u):
        def forward(i, *state):
            t = frames - 1 - i if reverse else i
            state, saved = STEPS[cell](x[t], matmul(state[0], u), state, activation)
            if cell not in HELD:
                state = [state[0] * mask[t]]
            return t, state, [*state, *saved]

        outputs = _loop(frames, forward, start, [units] * num_states + [gates * units for gates in SAVED[cell]])

        def gradient(dh_out):
            states, zero = outputs[:num_states], tf.zeros_like(outputs[0][:1])
            before = [tf.concat([h[1:], zero] if reverse else [zero, h[:-1]], 0) for h in states]
            backward, projected_gradient = GRADIENTS[cell](outputs, before, activation, mask)
            u_transposed = tf.transpose(u)  # a small GEMM with transpose_b is 3-6 times slower

            def step(i, dh, *d_states):
                t = i if reverse else frames - 1 - i
                d_states, emitted = backward(t, lambda dy: matmul(dy, u_transposed), dh + dh_out[t], *d_states)
                return t, d_states, emitted

            emitted = _loop(frames, step, start, [int(u.shape[1]), *([units] if cell == 'gru' else [])])
            return projected_gradient(*emitted), _weight_gradient(before[0], emitted[0], u.dtype)

        return outputs[0], gradient

    return run(x, u)
