"""What the CTC models have in common: their output, its loss and its best path."""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.fast.ctc_loss import ctc_losses


class CtcOutput(NamedTuple):
    """logits `[time, batch, classes]`, the blank last; lengths int32 `[batch]`, output frames."""

    logits: tf.Tensor
    lengths: tf.Tensor


class BestPath(NamedTuple):
    """The most probable class of each frame and its log-probability, `[batch, time]`; lengths `[batch]`."""

    ids: tf.Tensor
    log_probs: tf.Tensor
    lengths: tf.Tensor


def losses(output: CtcOutput, labels: tf.Tensor, label_lengths: tf.Tensor, *_) -> tf.Tensor:
    """Negative log-likelihood of each transcript, `[batch]`; the model's sizes and the phase make no difference."""
    return ctc_losses(output.logits, output.lengths, labels, label_lengths)


def posteriors(output: CtcOutput) -> tf.Tensor:
    """Log-probabilities of all classes, `[batch, time, classes]`, for a beam search."""
    return tf.transpose(tf.nn.log_softmax(output.logits), [1, 0, 2])


def best_path(output: CtcOutput) -> BestPath:
    """The greedy path, in the graph, so that only two numbers a frame leave the device."""
    log_probs = tf.nn.log_softmax(output.logits)
    ids = tf.argmax(log_probs, 2, output_type=tf.int32)
    return BestPath(tf.transpose(ids), tf.transpose(tf.reduce_max(log_probs, 2)), output.lengths)


def infer(output: CtcOutput, *_) -> tuple[tuple, tuple]:
    """For greedy decoding the best path, for a beam search the posteriors and their lengths."""
    return tuple(best_path(output)), (posteriors(output), output.lengths)
