"""Recurrence over symbols with its own gradient, for steps too varied to differentiate by hand.

TensorFlow's gradient of a loop multiplies small matrices at every step for each weight's gradient. Here the step is
written once, with its matrix products named. The backward loop recomputes the cheap parts of a step from the saved
products and differentiates them, and every weight gradient is one GEMM after the loop.
"""

from collections.abc import Callable

import tensorflow.compat.v1 as tf


def product(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Multiplies rows `[rows, in]` by a weight.

    A weight `[in, out]` applies to all rows; each matrix of a weight `[batch, in, out]` applies to rows / batch
    consecutive rows.
    """
    if weight.shape.ndims == 2:
        return tf.matmul(x, weight)
    y = tf.matmul(tf.reshape(x, [tf.shape(weight)[0], -1, tf.shape(weight)[1]]), weight)
    y = tf.reshape(y, [-1, tf.shape(weight)[2]])
    y.set_shape([x.shape[0], weight.shape[2]])
    return y


def scan(
    step: Callable,
    symbols: tf.Tensor,
    table: tf.Tensor,
    state: list[tf.Tensor],
    weights: dict[str, tf.Tensor],
    shared: dict[str, tf.Tensor],
    choose: Callable | None = None,
) -> list[tf.Tensor]:
    """Runs `state = step(apply, shared, table[symbol], state)` over the symbols.

    Table, weights and shared tensors get gradients, the initial state does not.

    Args:
      step: step(apply, shared, row, state) -> new state; `apply(name, x)` is the product of x and a weight,
        to be called once per step for each weight.
      symbols: int32 `[steps, batch]`.
      table: rows of the symbols, `[classes, units]`.
      state: initial state, tensors `[batch, ...]`.
      weights: weights by name, see `product`; a batched one has the batch of the state. Their gradients are computed
        after the loop.
      shared: other tensors by name that need gradients, which are summed step by step: small ones, or no products.
      choose: choose(step number, symbol int64 `[batch]`, state) -> symbol to use instead, for scheduled sampling.

    Returns:
      States after every step, each `[steps, batch, ...]`.
    """

    @tf.custom_gradient
    def run(table, *values):
        weight = dict(zip(weights, values[: len(weights)], strict=True))
        common = dict(zip(shared, values[len(weights) :], strict=True))
        # a GPU keeps int32 slices in the host's memory, and its tensor arrays take no integers
        given = tf.cast(symbols, tf.int64)
        forward = _forward(step, given, table, weight, common, choose)
        types = [tf.float32] * ((choose is not None) + len(weight) + len(state))
        _, saved = _loop(tf.range(tf.shape(symbols)[0]), forward, state, types)
        chosen = tf.cast(saved.pop(0), tf.int64) if choose else given
        products, states = dict(zip(weight, saved, strict=False)), saved[len(weight) :]
        for stacked, first in zip(states, state, strict=True):
            stacked.set_shape([None, *first.shape])

        def gradient(*d_states, variables=()):  # those that `choose` reads: a choice has no gradient
            before = [tf.concat([first[tf.newaxis], after[:-1]], 0) for first, after in zip(state, states, strict=True)]
            backward = _backward(step, chosen, table, weight, common, products, before, d_states)
            d_values = _gradients(backward, chosen, table, weight, [*state, *common.values()], len(state))
            return (d_values, [None for _ in variables]) if variables else d_values

        return states, gradient

    return run(table, *weights.values(), *shared.values())


def _forward(step, symbols, table, weight, common, choose):
    """The body of the loop, for `_loop`: it emits the symbol that `choose` chose, each product, and the state."""

    def body(t, state):
        products = {}

        def apply(name, x):
            products[name] = product(x, weight[name])
            return products[name]

        symbol = choose(t, symbols[t], state) if choose else symbols[t]
        state = step(apply, common, tf.gather(table, symbol), state)
        emitted = [*(products[name] for name in weight), *state]
        return state, [tf.cast(symbol, tf.float32), *emitted] if choose else emitted

    return body


def _gradients(backward, chosen, table, weight, carried, num_states):
    """Runs the backward loop; returns the gradients of the table, of each weight and of each shared tensor."""
    start = [tf.zeros_like(x) for x in carried]
    order = tf.range(tf.shape(chosen)[0] - 1, -1, -1)
    summed, (d_rows, *pairs) = _loop(order, backward, start, [tf.float32] * (1 + 2 * len(weight)))
    d_rows = tf.reshape(d_rows, [-1, int(table.shape[1])])
    d_table = tf.math.unsorted_segment_sum(d_rows, tf.reshape(chosen, [-1]), tf.shape(table)[0])
    sides = zip(weight.values(), pairs[: len(weight)], pairs[len(weight) :], strict=True)
    return [d_table, *(_weight_gradient(*side) for side in sides), *summed[num_states:]]


def _loop(order, body, carried, dtypes):
    """Runs `carried, emitted = body(t, carried)` for t in order; returns final carried, and emitted stacked by t."""
    arrays = [tf.TensorArray(dtype, tf.size(order), infer_shape=False) for dtype in dtypes]

    def step(i, carried, arrays):
        new, emitted = body(order[i], carried)
        for tensor, old in zip(new, carried, strict=True):
            tensor.set_shape(old.shape)
        return i + 1, new, [array.write(order[i], x) for array, x in zip(arrays, emitted, strict=True)]

    _, carried, arrays = tf.while_loop(
        lambda i, *_: i < tf.size(order), step, [tf.constant(0), list(carried), arrays], parallel_iterations=32
    )
    return carried, [array.stack() for array in arrays]


def _backward(step, chosen, table, weight, common, products, before, d_states):
    """Body of the backward loop, for `_loop`.

    Its carried tensors are the gradients of the state and of the shared tensors. It emits the gradient of the table's
    rows, the left operand of each product, and the gradient of each product.
    """
    # transposed once: a small GEMM with transpose_b is 3-6 times slower
    transposed = {name: tf.linalg.matrix_transpose(value) for name, value in weight.items()}

    @tf.custom_gradient
    def replay(x, saved, tap, back):
        del x, tap
        return tf.identity(saved), lambda dy: (product(dy, back), None, dy, None)

    def body(t, carried):
        d_state, d_common = carried[: len(before)], carried[len(before) :]
        leaves = [tf.identity(tensor) for tensor in (*(x[t] for x in before), *common.values())]
        for leaf, tensor in zip(leaves, carried, strict=True):
            leaf.set_shape(tensor.shape)
        state, local = leaves[: len(before)], dict(zip(common, leaves[len(before) :], strict=True))
        row = tf.gather(table, chosen[t])
        taps, sides = {}, {}

        def apply(name, x):
            saved = products[name][t]
            saved.set_shape([x.shape[0], weight[name].shape[-1]])
            taps[name], sides[name] = tf.zeros_like(saved), x
            return replay(x, saved, taps[name], transposed[name])

        after = step(apply, local, row, state)
        d_after = [d + outer[t] for d, outer in zip(d_state, d_states, strict=True)]
        targets = [*state, *local.values(), row, *(taps[name] for name in weight)]
        grads = tf.gradients(after, targets, d_after, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        d_common = [d + new for d, new in zip(d_common, grads[len(before) : len(leaves)], strict=True)]
        emitted = [*grads[len(leaves) : len(leaves) + 1], *(sides[name] for name in weight), *grads[len(leaves) + 1 :]]
        return [*grads[: len(before)], *d_common], emitted

    return body


def _weight_gradient(weight, x, dy):
    """Sum over steps of xᵀ · dy, per batch entry of a batched weight; x and dy `[steps, rows, units]`."""
    inputs, outputs = tf.shape(weight)[-2], tf.shape(weight)[-1]
    if weight.shape.ndims == 2:
        return tf.matmul(tf.reshape(x, [-1, inputs]), tf.reshape(dy, [-1, outputs]), transpose_a=True)
    return tf.matmul(tf.transpose(x, [1, 2, 0]), tf.transpose(dy, [1, 0, 2]))
