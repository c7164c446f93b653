"""Recurrent cells: one step of each, and its initial bias. Rows are `[batch, units]`."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow.compat.v1 as tf


class Activation(NamedTuple):
    """A non-linearity and its derivative written in terms of its own output."""

    function: Callable
    derivative: Callable


NUM_GATES = {'gru': 3, 'lstm': 4, 'rnn': 1}


def gru_step(projected, recurrent, state, activation: Activation):
    """One step of a GRU that resets after the recurrent product: c = f(x_c + r·(h U_c)); h' = (1 - z)·c + z·h.

    Args:
      projected: `[batch, 3 · units]`, the input's share of reset, update and candidate, with the bias.
      recurrent: `[batch, 3 · units]`, h U.
      state: [h].
      activation: f.

    Returns:
      The new state, and what the gradient needs: reset and update gate, and candidate.
    """
    (h,) = state
    units = int(h.shape[1])
    x_gates, x_c = tf.split(projected, [2 * units, units], 1)
    h_gates, h_c = tf.split(recurrent, [2 * units, units], 1)
    reset_update = tf.sigmoid(x_gates + h_gates)
    r, z = tf.split(reset_update, 2, 1)
    c = activation.function(x_c + r * h_c)
    return [c + z * (h - c)], [reset_update, c, h_c]


def lstm_step(projected, recurrent, state, activation: Activation):
    """One step of an LSTM: c' = f·c + i·a(g); h' = o·a(c'). The gates' order: input, forget, output, candidate.

    The state is [h, c]; what the gradient needs, the gates and the candidate. Other arguments as in `gru_step`.
    """
    units = int(state[0].shape[1])
    gates, candidate = tf.split(projected + recurrent, [3 * units, units], 1)
    ifo = tf.sigmoid(gates)
    g = activation.function(candidate)
    i, f, o = tf.split(ifo, 3, 1)
    c = f * state[1] + i * g
    return [o * activation.function(c), c], [ifo, g]


def rnn_step(projected, recurrent, state, activation: Activation):
    """One step of the plain cell: h' = f(x + h U). The state is [h]; other arguments as in `gru_step`."""
    return [activation.function(projected + recurrent)], []


def initial_bias(cell: str, units: int) -> tf.Tensor:
    """Zeros, but for an LSTM's forget gate: one that starts open lets gradients through from the first step."""
    zeros = tf.zeros([units])
    return tf.concat([zeros, zeros + 1, zeros, zeros], 0) if cell == 'lstm' else tf.zeros([NUM_GATES[cell] * units])


STEPS = {'gru': gru_step, 'lstm': lstm_step, 'rnn': rnn_step}
NUM_STATES = {'gru': 1, 'lstm': 2, 'rnn': 1}
