"""Dynamic loss scaling for products in float16 (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2).

The loss is multiplied by a power of two before its gradient is taken, so that small gradients stay above the smallest
float16, and the gradient is divided by it afterwards: both are exact. A gradient that overflows costs its step.
"""

from typing import NamedTuple

import tensorflow.compat.v1 as tf

NAME = 'loss_scale'
INITIAL, LOWEST, HIGHEST = 2.0**15, 1.0, 2.0**24
GROWTH_STEPS = 2000  # steps without an overflow after which the scale doubles


class LossScale(NamedTuple):
    """State of the scaling: the factor on the loss, and the steps since it last changed, both float32 scalars."""

    scale: tf.Tensor
    good_steps: tf.Tensor

    def after(self, is_gradient_finite: tf.Tensor, is_loss_finite: tf.Tensor) -> 'LossScale':
        """The state after a step: halved by an overflow, doubled after GROWTH_STEPS without one.

        A loss that is not finite has its own fault and leaves the state as it is.
        """
        good_steps = self.good_steps + 1
        grows = good_steps >= GROWTH_STEPS
        larger = tf.where(grows, tf.minimum(2 * self.scale, HIGHEST), self.scale)
        scale = tf.where(is_gradient_finite, larger, tf.maximum(self.scale / 2, LOWEST))
        good_steps = tf.where(is_gradient_finite & ~grows, good_steps, 0.0)
        pairs = zip((scale, good_steps), self, strict=True)
        return LossScale(*(tf.where(is_loss_finite, new, old) for new, old in pairs))


def create_loss_scale() -> list[tf.Variable]:
    """Creates the variables of a `LossScale`; they are saved in checkpoints."""
    initial = {NAME: INITIAL, f'{NAME}_good_steps': 0.0}
    return [tf.get_variable(name, initializer=value, trainable=False) for name, value in initial.items()]
