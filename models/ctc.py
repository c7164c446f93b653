"""Output, loss and inference shared by the CTC models."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.fast.ctc_loss import ctc_losses


class CtcOutput(NamedTuple):
    """Output of an acoustic model.

    Attributes:
      logits: `[time, batch, classes]`, the blank last.
      lengths: int32 `[batch]`, output frames.
    """

    logits: tf.Tensor
    lengths: tf.Tensor


class BestPath(NamedTuple):
    """Most probable class of each frame and its log-probability, `[batch, time]`; lengths `[batch]`."""

    ids: tf.Tensor
    log_probs: tf.Tensor
    lengths: tf.Tensor


def losses(output: CtcOutput, labels: tf.Tensor, label_lengths: tf.Tensor, *_) -> tf.Tensor:
    """Negative log-likelihood of each transcript, `[batch]`; configuration, phase and criterion are ignored."""
    return ctc_losses(output.logits, output.lengths, labels, label_lengths)


def posteriors(output: CtcOutput) -> tf.Tensor:
    """Log-probabilities of all classes for the beam search, `[batch, time, classes]`."""
    return tf.transpose(tf.nn.log_softmax(output.logits), [1, 0, 2])


def best_path(output: CtcOutput) -> BestPath:
    """Greedy path, computed in the graph so that only two numbers per frame leave the device."""
    log_probs = tf.nn.log_softmax(output.logits)
    ids = tf.argmax(log_probs, 2, output_type=tf.int32)
    return BestPath(tf.transpose(ids), tf.transpose(tf.reduce_max(log_probs, 2)), output.lengths)


def infer(output: CtcOutput, *_) -> tuple[tuple, tuple]:
    """Returns the best path for greedy decoding, and (posteriors, lengths) for the beam search."""
    return tuple(best_path(output)), (posteriors(output), output.lengths)
