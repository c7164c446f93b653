"""Output, loss and inference shared by the CTC models."""

import math
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.fast.ctc_loss import ctc_losses
from models.layers import Phase


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


def losses(
    output: CtcOutput, labels: tf.Tensor, label_lengths: tf.Tensor, config: ModelConfig, phase: Phase, criterion
) -> tf.Tensor:
    """Negative log-likelihood of each transcript, `[batch]`, smoothed by the criterion (`models.Criterion`)."""
    del config, phase
    return smoothed_losses(output.logits, output.lengths, labels, label_lengths, criterion.ctc_smoothing)


def smoothed_losses(
    logits: tf.Tensor, logit_lengths: tf.Tensor, labels: tf.Tensor, label_lengths: tf.Tensor, smoothing: float
) -> tf.Tensor:
    """(1 - s) · CTC + s · Σ_t D(P_t ‖ U), label smoothing of CTC (Kim, Seltzer et al. 2018, arXiv 1711.02212).

    D is the Kullback-Leibler divergence of the posteriors P_t of a real frame from the uniform distribution U over the
    classes, the blank among them: ln(classes) less the entropy of P_t.

    Args:
      logits, logit_lengths, labels, label_lengths: as in `ctc_losses`.
      smoothing: weight s; 0: CTC alone.

    Returns:
      `[batch]`, in nats.
    """
    losses = ctc_losses(logits, logit_lengths, labels, label_lengths)
    if not smoothing:
        return losses
    log_probs = tf.nn.log_softmax(logits)
    divergences = tf.reduce_sum(tf.exp(log_probs) * log_probs, 2) + math.log(int(logits.shape[2]))  # [time, batch]
    is_real = tf.transpose(tf.sequence_mask(logit_lengths, tf.shape(logits)[0], logits.dtype))
    return (1 - smoothing) * losses + smoothing * tf.reduce_sum(divergences * is_real, 0)


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
