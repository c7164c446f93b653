"""CTC loss (Graves et al. 2006) by two recursions over time, several times as fast as TensorFlow's kernel on a CPU.

The kernel processes one utterance after another in log space, with a logarithm and an exponential per state. Here a
step of the recursion takes the whole batch, in float64 probabilities scaled so that they neither vanish nor overflow;
the forward and backward recursions are independent and run in parallel.

Layout: `[time, symbols, batch]`, so that a neighbouring symbol is a neighbouring row. K symbols have K label states and
K + 1 blank states; blank k stands before label k.

- Padding: a padded frame emits the blank with probability 1. That changes no likelihood, so the loops need no mask and
  all utterances end together.
- Tilt: each new symbol is weighted by a constant of the utterance, so that paths with few symbols do not outweigh those
  that reach the end. All complete paths get the same weight, which cancels in the posterior.
- Scale: the states are divided by their sum every UNROLL frames. Z, the likelihood in these units, shows whether
  anything relevant was lost below the smallest float64. Where it may have been, log space is used, which is slow.
"""

import math
from collections.abc import Callable

import tensorflow.compat.v1 as tf

UNROLL = 8  # frames per iteration of a loop
TINY = 1e-300
MIN_LOG_Z = -460.0  # 1e-200: a state below 1e-308 then has an occupancy below 1e-100
MIN_TILT, MAX_TILT = 1e-3, 1e6
MIN_KERNEL_LOG_PROB = -80.0  # the kernel takes the logarithm of float32 probabilities: from -87 down they are 0
LOG_ZERO = -1e100  # log-probability of what is impossible; infinity would make a gradient NaN


def _recursion(labels, blanks, label_probs, blank_probs, advance, reverse):
    """Runs one recursion over all frames.

    Args:
      labels: label states before the first emission, `[symbols, batch]`.
      blanks: blank states, `[symbols + 1, batch]`.
      label_probs: `[time, symbols, batch]`; time is a multiple of UNROLL.
      blank_probs: `[time, 1, batch]`.
      advance: advance(labels, blanks) -> the states of the next frame before its emission.
      reverse: run from the last frame to the first.

    Returns:
      Label states of each frame before its emission, `[time, symbols, batch]`; log of their divisor, `[time, batch]`;
      blank states after the last frame, and log of their divisor.
    """
    frames = tf.shape(blank_probs)[0]

    def turn(i, labels, blanks, states, scales):
        for _ in range(UNROLL):
            t = frames - 1 - i if reverse else i
            states = states.write(t, labels)
            labels, blanks = advance(labels * label_probs[t], blanks * blank_probs[t])
            i += 1
        scale = tf.reduce_sum(blanks, 0, keepdims=True) + TINY
        return i, labels / scale, blanks / scale, states, scales.write(i // UNROLL - 1, scale[0])

    states, scales = (tf.TensorArray(labels.dtype, size) for size in (frames, frames // UNROLL))
    _, _, blanks, states, scales = tf.while_loop(
        lambda i, *_: i < frames, turn, [tf.constant(0), labels, blanks, states, scales], parallel_iterations=8
    )
    divided = tf.cumsum(tf.log(scales.stack()))
    before = tf.pad(divided, [[1, 0], [0, 0]])[:-1]
    before = tf.repeat(tf.reverse(before, [0]) if reverse else before, UNROLL, axis=0)
    return states.stack(), before, blanks, divided[-1]


def _tilt(label_probs, blank_probs, frames, symbols):
    """Weight of a new symbol, `[1, batch]`, at which a path of average probabilities emits all symbols in time.

    If each frame emits a new symbol with probability l, or the blank or the same symbol with b + l, then the weighted
    states advance by w·l / (b + l + w·l) symbols per frame; that equals symbols / frames for
    w = (b + l) / l · symbols / (frames - symbols).
    """
    padding = tf.cast(tf.shape(blank_probs)[0], tf.float64) - frames
    mean_blank = (tf.reduce_sum(blank_probs, [0, 1]) - padding) / tf.maximum(frames, 1)
    mean_label = tf.reduce_sum(label_probs, [0, 1]) / tf.maximum(frames * symbols, 1)
    tilt = (mean_blank / tf.maximum(mean_label, TINY) + 1) * symbols / tf.maximum(frames - symbols, 1)
    return tf.clip_by_value(tilt, MIN_TILT, MAX_TILT)[None]


def _posteriors(label_probs, blank_probs, skip, frames, symbols):
    """The forward-backward algorithm.

    Args:
      label_probs: `[time, symbols, batch]`, 0 beyond each transcript and on padded frames.
      blank_probs: `[time, 1, batch]`, 1 on padded frames.
      skip: `[symbols, batch]`, 0 for a symbol that repeats the one before, since a blank must stand between; else 1.
      frames, symbols: float64 `[batch]`, lengths.

    Returns:
      Log-likelihoods `[batch]`; occupancies (posterior probabilities) of the label states, `[time, symbols, batch]`;
      smallest log Z of each utterance `[batch]`.
    """
    dtype, num_states = label_probs.dtype, tf.shape(label_probs)[1]
    length = tf.cast(symbols, tf.int32)
    tilt = _tilt(label_probs, blank_probs, frames, symbols)
    skip_next = tf.pad(skip[1:], [[0, 1], [0, 0]])

    def forward(labels, blanks):
        advanced = tf.pad(labels * tilt, [[1, 0], [0, 0]])
        return tf.add_n([labels, blanks[:-1], skip * advanced[:-1]]), blanks + advanced

    def backward(labels, blanks):
        following = tf.pad(labels, [[0, 1], [0, 0]])
        return labels + tilt * (blanks[1:] + skip_next * following[1:]), blanks + following

    def state(number, count):
        return tf.one_hot(number, count, axis=0, dtype=dtype)

    first = tf.zeros_like(length)
    start = state(first, num_states), state(first, num_states + 1)
    end = tilt * state(length - 1, num_states), state(length, num_states + 1)
    probs = label_probs, blank_probs
    states, log_scale, blanks, last_log_scale = _recursion(*start, *probs, forward, reverse=False)
    states_back, log_scale_back, _, _ = _recursion(*end, *probs, backward, reverse=True)
    # the tilted likelihood: all paths that are in the last blank after the last frame
    log_likelihood = last_log_scale + tf.log(tf.reduce_sum(blanks * end[1], 0))
    log_z = log_likelihood - log_scale - log_scale_back
    occupancies = states * label_probs * states_back * tf.exp(-log_z)[:, None]
    return log_likelihood - symbols * tf.log(tilt[0]), occupancies, tf.reduce_min(log_z, 0)


def _label_rows(labels, label_lengths, classes):
    """Row of each symbol among the classes of all utterances, `[symbols, batch]`; beyond a transcript, the blank's.

    Also returns `skip` of `_posteriors`, and a mask of real symbols, both float64 `[symbols, batch]`.
    """
    labels = tf.pad(labels, [[0, 0], [0, tf.maximum(1 - tf.shape(labels)[1], 0)]])
    real = tf.sequence_mask(label_lengths, tf.shape(labels)[1])
    labels = tf.where(real, labels, tf.fill(tf.shape(labels), classes - 1))
    differs = tf.pad(tf.not_equal(labels[:, 1:], labels[:, :-1]), [[0, 0], [1, 0]])
    rows = labels + classes * tf.range(tf.shape(labels)[0])[:, None]
    return tf.transpose(rows), *(tf.transpose(tf.cast(x, tf.float64)) for x in (differs, real))


def losses_and_gradients(logits, logit_lengths, labels, label_lengths):
    """Losses by the recursions, and their gradients; arguments as in `ctc_losses`.

    Returns:
      Losses `[batch]`; gradients by the logits `[time, batch, classes]`; is_exact `[batch]`, False where float64 may
      have underflowed: ignore loss and gradient there.
    """
    frames, batch, classes = tf.shape(logits)[0], tf.shape(logits)[1], int(logits.shape[2])
    rows, skip, real = _label_rows(labels, label_lengths, classes)
    log_probs = tf.nn.log_softmax(logits)
    padded = tf.pad(log_probs, [[0, -frames % UNROLL], [0, 0], [0, 0]])  # to whole iterations of the loop
    live = tf.transpose(tf.sequence_mask(logit_lengths, tf.shape(padded)[0], tf.float64))[:, None]
    # each class of each utterance becomes a row of time, since whole rows are gathered fastest
    flat_rows = tf.reshape(rows, [-1])
    label_probs = tf.transpose(tf.gather(tf.transpose(tf.reshape(padded, [-1, batch * classes])), flat_rows))
    label_probs = tf.reshape(label_probs, [-1, tf.shape(rows)[0], batch])
    blank_probs = padded[:, None, :, classes - 1]
    peak = tf.maximum(tf.reduce_max(label_probs, 1, keepdims=True), blank_probs)  # becomes 1
    label_probs = tf.exp(tf.cast(label_probs - peak, tf.float64)) * live * real
    blank_probs = tf.exp(tf.cast(blank_probs - peak, tf.float64)) * live + (1 - live)
    counts = tf.cast(logit_lengths, tf.float64), tf.cast(label_lengths, tf.float64)
    log_likelihoods, occupancies, log_z = _posteriors(label_probs, blank_probs, skip, *counts)
    log_likelihoods += tf.reduce_sum(tf.cast(peak, tf.float64) * live, [0, 1])

    blank_occupancies = tf.cast(live[:frames, 0] - tf.reduce_sum(occupancies[:frames], 1), tf.float32)
    occupancies = tf.transpose(tf.reshape(tf.cast(occupancies[:frames], tf.float32), [frames, -1]))
    expected = tf.transpose(tf.math.unsorted_segment_sum(occupancies, flat_rows, batch * classes))
    expected = tf.reshape(expected, [frames, batch, classes]) + blank_occupancies[..., None] * tf.one_hot(
        classes - 1, classes
    )
    gradients = tf.exp(log_probs) * tf.cast(live[:frames, 0, :, None], tf.float32) - expected
    # the comparison is False for NaN too
    return tf.cast(-log_likelihoods, tf.float32), gradients, log_z > MIN_LOG_Z


def kernel_losses_and_gradients(logits, logit_lengths, labels, label_lengths):
    """As `losses_and_gradients`, by TensorFlow's kernel, which runs on the host."""
    live = tf.transpose(tf.sequence_mask(logit_lengths, tf.shape(logits)[0]))
    is_exact = tf.reduce_all((tf.reduce_min(tf.nn.log_softmax(logits), 2) > MIN_KERNEL_LOG_PROB) | ~live, 0)
    with tf.device('/cpu:0'):  # where the labels are: a GPU would count their places and send them back
        num_symbols = tf.maximum(label_lengths, 1)  # the kernel rejects a batch with an empty transcript
        labels = tf.pad(labels, [[0, 0], [0, tf.maximum(1 - tf.shape(labels)[1], 0)]])
        where = tf.where(tf.sequence_mask(num_symbols, tf.shape(labels)[1]))
        losses, gradients = tf.raw_ops.CTCLoss(
            inputs=logits,
            labels_indices=where,
            labels_values=tf.gather_nd(labels, where),
            sequence_length=logit_lengths,
            ignore_longer_outputs_than_inputs=True,
        )
    # a transcript with more symbols than frames costs 0 here, and the empty one was given a symbol
    fits = tf.is_finite(losses) & (label_lengths > 0) & (label_lengths <= logit_lengths)
    return losses, gradients, is_exact & fits


def log_space_losses(logits, logit_lengths, labels, label_lengths):
    """Losses by the forward recursion in log space, exact in any range; arguments as in `ctc_losses`."""
    blank, zero = int(logits.shape[2]) - 1, tf.constant(LOG_ZERO, tf.float64)
    labels = tf.where(tf.sequence_mask(label_lengths, tf.shape(labels)[1]), labels, tf.fill(tf.shape(labels), blank))
    symbols = tf.reshape(tf.stack([tf.fill(tf.shape(labels), blank), labels], 2), [tf.shape(labels)[0], -1])
    symbols = tf.pad(symbols, [[0, 0], [0, 2]], constant_values=blank)  # of the states, a blank before each label
    skip_cost = tf.where_v2(tf.equal(symbols[:, 2:], symbols[:, :-2]), zero, tf.zeros_like(zero))
    log_probs = tf.transpose(tf.nn.log_softmax(tf.cast(logits, tf.float64)), [1, 2, 0])
    emissions = tf.transpose(tf.gather(log_probs, symbols, batch_dims=1), [2, 0, 1])  # [time, batch, states]
    live = tf.transpose(tf.sequence_mask(logit_lengths, tf.shape(logits)[0]))[:, :, None]

    def shift(states, number):
        return tf.pad(states, [[0, 0], [number, 0]], constant_values=zero)

    def step(states, frame):
        ways = [states, shift(states[:, :-1], 1), shift(states[:, :-2] + skip_cost, 2)]
        return tf.where_v2(frame[1], tf.reduce_logsumexp(ways, 0) + frame[0], states)

    number = tf.range(tf.shape(symbols)[1])
    start = tf.where_v2(tf.tile(number[None], [tf.shape(symbols)[0], 1]) > 0, zero, tf.zeros_like(zero))
    states = tf.scan(step, (emissions, live), start)[-1]
    is_end = (number <= 2 * label_lengths[:, None]) & (number >= 2 * label_lengths[:, None] - 1)
    losses = -tf.reduce_logsumexp(tf.where_v2(is_end, states, zero), 1)
    return tf.cast(tf.where_v2(losses > -LOG_ZERO / 2, tf.constant(math.inf, tf.float64), losses), tf.float32)


def checked_losses_and_gradients(compute: Callable, logits, *rest):
    """Losses and gradients by `compute`, a function above, and in log space for utterances beyond its range."""
    losses, gradients, is_exact = compute(logits, *rest)

    def in_log_space():
        inputs = tf.identity(logits)
        exact = log_space_losses(inputs, *rest)
        chosen = tf.where_v2(is_exact[None, :, None], gradients, tf.gradients(exact, inputs)[0])
        return tf.where(is_exact, losses, exact), chosen

    return tf.cond(tf.reduce_all(is_exact), lambda: (losses, gradients), in_log_space)


def ctc_losses(
    logits: tf.Tensor,
    logit_lengths: tf.Tensor,
    labels: tf.Tensor,
    label_lengths: tf.Tensor,
    device_type: str | None = None,
) -> tf.Tensor:
    """Negative log-likelihood of each transcript under CTC (Graves et al. 2006); the blank is the last class.

    Args:
      logits: `[time, batch, classes]`.
      logit_lengths: int32 `[batch]`.
      labels: int32 `[batch, symbols]`; padding may have any value.
      label_lengths: int32 `[batch]`; with more symbols + adjacent repeats than frames the loss is infinite.
      device_type: 'CPU' or 'GPU'; None asks TensorFlow what the machine has.

    Returns:
      `[batch]`, in nats.
    """
    if device_type is None:
        device_type = 'GPU' if tf.config.list_physical_devices('GPU') else 'CPU'
    # Two loops over time are many small operations: on a GPU each would be a launch, while TensorFlow's kernel spreads
    # the utterances over the host's idle cores. On a CPU the loops take a third of the kernel's time.
    compute = losses_and_gradients if device_type == 'CPU' else kernel_losses_and_gradients

    @tf.custom_gradient
    def criterion(logits):
        losses, gradients = checked_losses_and_gradients(compute, logits, logit_lengths, labels, label_lengths)
        return losses, lambda d_losses: gradients * d_losses[None, :, None]

    return criterion(logits)
