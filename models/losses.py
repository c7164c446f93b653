"""Training criteria: one loss for each utterance."""

import tensorflow.compat.v1 as tf


def ctc_losses(logits: tf.Tensor, logit_lengths: tf.Tensor, labels: tf.Tensor, label_lengths: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood of each transcript under CTC (Graves et al. 2006); the blank is the last class.

    Args:
      logits: `[time, batch, classes]`.
      logit_lengths: int32 `[batch]`.
      labels: int32 `[batch, symbols]`, padded with anything.
      label_lengths: int32 `[batch]`; each must fit its frames (symbols + adjacent repeats).

    Returns:
      `[batch]`, in nats.
    """
    where = tf.where(tf.sequence_mask(label_lengths, tf.shape(labels)[1]))
    shape = tf.shape(labels, out_type=tf.int64)
    sparse = tf.SparseTensor(where, tf.gather_nd(labels, where), shape)
    # one transcript without symbols would otherwise fail the whole batch
    return tf.nn.ctc_loss(sparse, logits, logit_lengths, time_major=True, ignore_longer_outputs_than_inputs=True)
