"""Learning rates by hand-computed example; every optimiser goes downhill."""

import dataclasses

import pytest
import tensorflow.compat.v1 as tf

from utils.config import TrainConfig
from utils.train.optimizer import learning_rate_at, make_optimizer


def rate(step=1000, epoch=0, share=0.0, plateau=1.0, **options):
    config = dataclasses.replace(TrainConfig(learning_rate=0.1, epochs=10), **options)
    return learning_rate_at(config, step, epoch, share, plateau)


def test_the_rate_is_constant_by_default():
    assert rate() == rate(epoch=5, share=0.5) == 0.1


def test_the_epoch_schedule_divides_every_epoch():
    assert rate(epoch=2, lr_decay=1.2) == pytest.approx(0.1 / 1.44)
    assert rate(epoch=5, initial_epoch=3, lr_decay=1.2) == pytest.approx(0.1 / 1.44)
    assert rate(epoch=1000, lr_decay=10.0) == 0  # 10 ** 1000 is no float


def test_warm_up_rises_linearly_from_the_first_step():
    assert [rate(step=s, warmup_steps=4) for s in (0, 1, 3, 4)] == pytest.approx([0.025, 0.05, 0.1, 0.1])


def test_cosine_falls_from_the_peak_over_the_half_to_zero():
    steps = [(0, 0.0), (5, 0.0), (7, 0.5), (9, 1.0)]
    rates = [rate(epoch=e, share=s, lr_schedule='cosine') for e, s in steps]
    assert rates == pytest.approx([0.1, 0.05, 0.1 * 0.146447, 0.0], abs=1e-6)


def test_plateau_takes_the_scale_it_is_given():
    assert rate(lr_schedule='plateau', lr_decay=2.0, plateau=0.25) == pytest.approx(0.025)


@pytest.mark.parametrize('name', ['adam', 'sgd', 'momentum', 'nm', 'rmsprop', 'adagrad'])
def test_every_optimiser_goes_downhill(name):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.get_variable('x', initializer=3.0)
        loss = tf.square(x)
        optimizer = make_optimizer(name, tf.constant(0.01), momentum=0.9, beta2=0.99)
        update = optimizer.apply_gradients([(tf.gradients(loss, x)[0], x)])
        session.run(tf.global_variables_initializer())
        for _ in range(20):
            session.run(update)
        assert session.run(loss) < 9
