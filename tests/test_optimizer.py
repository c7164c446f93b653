"""Learning rates by hand-computed example; every optimiser goes downhill; weight decay by NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from tests.toy_tasks import MODELS, SMALL, make_task, run_steps, train_steps
from utils.config import TrainConfig
from utils.train.optimizer import learning_rate_at, make_optimizer
from utils.train.step import StepLoss
from utils.train.strategies import local_runtime

START = [[1.0, -2.0, 3.0], [0.5, 20.0, -7.0]]


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


def matrix_loss(batch, step, seed):
    """½ Σ (w - row)² over a matrix and a bias."""
    matrix = tf.get_variable('matrix', initializer=tf.constant(START))
    bias = tf.get_variable('bias', initializer=tf.constant(START[0]))
    rows = tf.cast(batch.rows, tf.float32)
    apart = tf.square(matrix - rows[:, None, None]), tf.square(bias - rows[:, None])
    return StepLoss(0.5 * (tf.reduce_sum(apart[0], [1, 2]) + tf.reduce_sum(apart[1], 1)))


def decayed(name, w, batches, rate, weight_decay):
    """Adam of Kingma and Ba, or Nesterov's momentum, in NumPy, with decay before each step."""
    first = second = np.zeros_like(w)
    for number, rows in enumerate(batches, 1):
        gradient = w - np.mean(rows)
        w = w - rate * weight_decay * w
        if name == 'adam':
            first, second = 0.9 * first + 0.1 * gradient, 0.98 * second + 0.02 * gradient**2
            w = w - rate * (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.98**number)) + 1e-8)
        else:
            first = 0.9 * first + gradient
            w = w - rate * (gradient + 0.9 * first)
    return w


@pytest.mark.parametrize('name', ['adam', 'nm'])
def test_decoupled_weight_decay_is_that_of_numpy_and_spares_biases(name):
    config = TrainConfig(optimizer=name, learning_rate=0.05, beta2=0.98, momentum=0.9, grad_clip=-1, weight_decay=2.0)
    batches = [np.arange(i, i + 3) for i in range(5)]
    weights, _ = train_steps(make_task()._replace(loss_fn=matrix_loss), config, batches)
    start = np.float64(START)
    np.testing.assert_allclose(weights['matrix'], decayed(name, start, batches, 0.05, 2.0), rtol=1e-4)
    np.testing.assert_allclose(weights['bias'], decayed(name, start[0], batches, 0.05, 0.0), rtol=1e-4)


def test_a_step_without_an_update_decays_nothing():
    config = TrainConfig(optimizer='sgd', learning_rate=0.05, weight_decay=2.0)

    def infinite(batch, step, seed):
        loss = matrix_loss(batch, step, seed)
        return loss._replace(losses=loss.losses + np.inf)

    weights, _ = train_steps(make_task()._replace(loss_fn=infinite), config, [np.arange(3)])
    np.testing.assert_array_equal(weights['matrix'], START)


def test_decay_on_two_towers_and_on_shared_variables_is_that_of_one_device():
    model = ModelConfig('ds2', **{**SMALL, **MODELS['ds2']})
    towers = local_runtime(inter_op_threads=2, towers=2)
    with tf.Graph().as_default():
        shared = tf.distribute.experimental.CentralStorageStrategy(['/cpu:0', '/cpu:1'], '/cpu:0')
    runtimes = local_runtime(inter_op_threads=2), towers, towers._replace(strategy=shared)
    one, *others = (run_steps(model, runtime, 3, weight_decay=3.0)[0] for runtime in runtimes)
    for name, value in one.items():
        for other in others:
            np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
