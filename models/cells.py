"""Recurrent cells: one step of GRU, LSTM and plain cell, and their initial biases.

The recurrent layers run them in `models.fast.recurrence`, the speller in `models.fast.scan`.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf


class Activation(NamedTuple):
    """A non-linearity, and its derivative as a function of its output."""

    function: Callable
    derivative: Callable


NUM_GATES = {'gru': 3, 'lstm': 4, 'rnn': 1}


def gru_step(
    projected: tf.Tensor, recurrent: tf.Tensor, state: list[tf.Tensor], activation: Activation
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """One step of a GRU that resets after the recurrent product: c = f(x_c + r·(h U_c)); h' = (1 - z)·c + z·h.

    Args:
      projected: `[batch, 3 · units]`, projected input plus bias: reset gate, update gate, candidate.
      recurrent: `[batch, 3 · units]`, the recurrent product h U.
      state: [h], each `[batch, units]`.
      activation: non-linearity f of the candidate.

    Returns:
      The new state, and the tensors that the gradient needs: [reset and update gates, candidate, h U_c].
    """
    (h,) = state
    units = int(h.shape[1])
    x_gates, x_c = tf.split(projected, [2 * units, units], 1)
    h_gates, h_c = tf.split(recurrent, [2 * units, units], 1)
    reset_update = tf.sigmoid(x_gates + h_gates)
    r, z = tf.split(reset_update, 2, 1)
    c = activation.function(x_c + r * h_c)
    return [c + z * (h - c)], [reset_update, c, h_c]


def lstm_step(
    projected: tf.Tensor, recurrent: tf.Tensor, state: list[tf.Tensor], activation: Activation
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """One step of an LSTM: c' = f·c + i·a(g); h' = o·a(c'), gates in the order input, forget, output, candidate.

    The state is [h, c], and the gradient needs [gates, candidate]. Otherwise as `gru_step`, with four gates.
    """
    units = int(state[0].shape[1])
    gates, candidate = tf.split(projected + recurrent, [3 * units, units], 1)
    ifo = tf.sigmoid(gates)
    g = activation.function(candidate)
    i, f, o = tf.split(ifo, 3, 1)
    c = f * state[1] + i * g
    return [o * activation.function(c), c], [ifo, g]


def rnn_step(
    projected: tf.Tensor, recurrent: tf.Tensor, state: list[tf.Tensor], activation: Activation
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """One step of the plain cell: h' = f(x + h U). The state is [h]; otherwise as `gru_step`, with one gate."""
    return [activation.function(projected + recurrent)], []


def initial_bias(cell: str, units: int) -> tf.Tensor:
    """Zeros, except ones for the forget gate of an LSTM, so that gradients pass through it from the first step."""
    zeros = tf.zeros([units])
    return tf.concat([zeros, zeros + 1, zeros, zeros], 0) if cell == 'lstm' else tf.zeros([NUM_GATES[cell] * units])


STEPS = {'gru': gru_step, 'lstm': lstm_step, 'rnn': rnn_step}
NUM_STATES = {'gru': 1, 'lstm': 2, 'rnn': 1}
