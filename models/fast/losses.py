"""Training criteria: one loss for each utterance."""

import tensorflow.compat.v1 as tf

from models.fast.ctc_loss import checked_losses_and_gradients, kernel_losses_and_gradients


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
      labels: int32 `[batch, symbols]`, padded with anything.
      label_lengths: int32 `[batch]`; each must fit its frames (symbols + adjacent repeats).
      device_type: 'CPU' or 'GPU'; None asks TensorFlow what the machine has.

    Returns:
      `[batch]`, in nats.
    """
    if device_type is None:
        device_type = 'GPU' if tf.config.list_physical_devices('GPU') else 'CPU'
    # Two loops over time are many small operations: on a GPU each would be a launch, while TensorFlow's kernel spreads
    # the utterances over the host's cores, which are idle there. On a CPU the loops take a third of its time.
    compute = checked_losses_and_gradients if device_type == 'CPU' else kernel_losses_and_gradients

    @tf.custom_gradient
    def criterion(logits):
        losses, gradients = compute(logits, logit_lengths, labels, label_lengths)
        return losses, lambda d_losses: gradients * d_losses[None, :, None]

    return criterion(logits)


UNIGRAM_TRUTH, NEIGHBORHOOD_TRUTH = 0.95, 0.9
NEIGHBOR_WEIGHTS = {1: 5.0, 2: 2.0}


def smoothed_targets(
    symbols: tf.Tensor, label_lengths: tf.Tensor, classes: int, smoothing: str, symbol_frequencies=()
) -> tf.Tensor:
    """What a speller should say at each step (arXiv 1612.02695, section 2.3); each distribution sums to one.

    Args:
      symbols: int32 `[batch, steps]`: the transcript, then `<eos>`.
      label_lengths: int32 `[batch]`, of the transcripts without `<eos>`.
      classes: number of them.
      smoothing: `none`: the symbol alone. `unigram`: 0.95 on it, the rest by frequency. `neighborhood`: 0.9 on it, the
        rest on the transcript's symbols one and two steps away in the ratio 5:2, as far as there are any. `<eos>` has
        neighbours but is none: the end would come early.
      symbol_frequencies: `[classes]`, summing to one; for `unigram`.

    Returns:
      `[batch, steps, classes]`.
    """
    truth = tf.one_hot(symbols, classes)
    if smoothing == 'none':
        return truth
    if smoothing == 'unigram':
        return UNIGRAM_TRUTH * truth + (1 - UNIGRAM_TRUTH) * tf.constant(symbol_frequencies, tf.float32)
    steps = tf.shape(symbols)[1]
    in_transcript = truth * tf.expand_dims(tf.sequence_mask(label_lengths, steps, tf.float32), 2)
    neighbors = tf.zeros_like(truth)
    for distance, weight in NEIGHBOR_WEIGHTS.items():
        padded = tf.pad(in_transcript, [[0, 0], [distance, distance], [0, 0]])
        neighbors += weight * (padded[:, :steps] + padded[:, 2 * distance :])
    total = tf.reduce_sum(neighbors, 2, keepdims=True)
    spread = (1 - NEIGHBORHOOD_TRUTH) * tf.math.divide_no_nan(neighbors, total)
    return tf.where(tf.tile(total > 0, [1, 1, classes]), NEIGHBORHOOD_TRUTH * truth + spread, truth)


def cross_entropies(logits: tf.Tensor, targets: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each utterance, summed over its steps, in nats.

    Args:
      logits: `[batch, steps, classes]`.
      targets: distributions, `[batch, steps, classes]`.
      lengths: int32 `[batch]`, steps that count.
    """
    costs = tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.stop_gradient(targets), logits=logits)
    return tf.reduce_sum(costs * tf.sequence_mask(lengths, tf.shape(logits)[1], costs.dtype), 1)
