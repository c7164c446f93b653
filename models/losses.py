"""Training criteria: one loss for each utterance."""

import tensorflow.compat.v1 as tf

from models.ctc_loss import checked_losses_and_gradients, kernel_losses_and_gradients


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
