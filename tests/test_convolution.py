"""Every form of the convolution against a float64 sum over taps."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models import convolution
from models.convolution import conv2d, output_length
from models.layers import Phase


def reference(x, kernel, dy, time_stride, freq_stride):
    """Output, input gradient and kernel gradient, tap by tap in float64."""
    frames, width = -(-x.shape[1] // time_stride), -(-x.shape[2] // freq_stride)
    kernel_time, kernel_freq = kernel.shape[:2]
    before, low = (kernel_time - 1) // 2, max((width - 1) * freq_stride + kernel_freq - x.shape[2], 0) // 2
    after, high = kernel_time + time_stride, kernel_freq + freq_stride
    padded = np.pad(x.astype(np.float64), [(0, 0), (before, after), (low, high), (0, 0)])
    y, dx, d_kernel = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for t in range(kernel_time):
        for f in range(kernel_freq):
            taken = np.s_[:, t : t + frames * time_stride : time_stride, f : f + width * freq_stride : freq_stride]
            y += padded[taken] @ kernel[t, f]
            dx[taken] += dy @ kernel[t, f].T
            d_kernel[t, f] = np.einsum('btfi,btfo->io', padded[taken], dy)
    return y, dx[:, before : before + x.shape[1], low : low + x.shape[2]], d_kernel


def run(x, kernel, dy, strides, **options):
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, None, *x.shape[2:]])
        weights = tf.placeholder(tf.float32, kernel.shape)
        y = conv2d(inputs, weights, *strides, **options)
        assert y.shape.as_list() == [None, None, *dy.shape[2:]]
        gradients = tf.gradients(y, [inputs, weights], tf.constant(dy, tf.float32))
        return session.run([y, *gradients], {inputs: x, weights: kernel})


def draw(x_shape, kernel_shape, strides):
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=x_shape), random.normal(size=kernel_shape)
    frames, width = output_length(x_shape[1], strides[0]), output_length(x_shape[2], strides[1])
    return x, kernel, random.normal(size=[x_shape[0], frames, width, kernel_shape[3]])


def check(x_shape, kernel_shape, strides, **options):
    x, kernel, dy = draw(x_shape, kernel_shape, strides)
    for got, expected in zip(run(x, kernel, dy, strides, **options), reference(x, kernel, dy, *strides), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(np.abs(expected).max(), 1))


LAYERS = [((11, 41, 1, 4), (2, 2)), ((11, 21, 3, 5), (1, 2)), ((11, 21, 8, 9), (1, 2)), ((3, 3, 2, 3), (2, 1))]


@pytest.mark.parametrize('width', [7, 13, 20, 39, 40, 41, 81, 161])
@pytest.mark.parametrize(('kernel', 'strides'), LAYERS)
def test_the_chosen_form_is_the_convolution_at_every_width(kernel, strides, width):
    check((2, 25, width, kernel[2]), kernel, strides, device_type='CPU')


@pytest.mark.parametrize('frames', [1, 2, 5, 22, 23, 44, 67])
@pytest.mark.parametrize(('form', 'time_stride'), [('dft', 1), ('patches', 2), ('frequency_first', 2), ('plain', 2)])
def test_every_form_is_the_convolution_at_every_length(form, time_stride, frames):
    check((3, frames, 13, 2), (11, 21, 2, 3), (time_stride, 2), form=form)


@pytest.mark.parametrize('form', ['dft', 'patches', 'frequency_first'])
@pytest.mark.parametrize('kernel', [(1, 1), (4, 5), (5, 4), (19, 7), (40, 3)])
@pytest.mark.parametrize('freq_stride', [1, 3])
def test_kernels_of_any_size(form, kernel, freq_stride):
    if form == 'dft' and kernel[1] < freq_stride:
        pytest.skip('refused')
    check((2, 9, 10, 2), (*kernel, 2, 3), (1 if form == 'dft' else 3, freq_stride), form=form)


@pytest.mark.parametrize(('kernel', 'strides'), LAYERS)
@pytest.mark.parametrize('more', [1, 2, 33])
def test_more_padding_changes_no_real_output(kernel, strides, more):
    x, kernel, _ = draw((2, 27, 20, kernel[2]), kernel, strides)
    longer = np.pad(x, [(0, 0), (0, more), (0, 0), (0, 0)])
    frames = [output_length(len_, strides[0]) for len_ in (27, 27 + more)]
    short, long = (run(a, kernel, np.zeros([2, n, output_length(20, strides[1]), kernel.shape[3]]), strides)[0]
                   for a, n in zip((x, longer), frames, strict=True))  # fmt: skip
    np.testing.assert_allclose(long[:, : short.shape[1]], short, rtol=0, atol=1e-5 * np.abs(short).max())


def test_an_utterance_does_not_see_its_neighbours():
    x, kernel, dy = draw((3, 30, 9, 8), (11, 21, 8, 8), (1, 2))
    together = run(x, kernel, dy, (1, 2), form='dft')
    alone = run(x[1:2], kernel, dy[1:2], (1, 2), form='dft')
    for i in (0, 1):
        np.testing.assert_allclose(together[i][1:2], alone[i], rtol=0, atol=1e-5 * np.abs(alone[i]).max())


@pytest.mark.parametrize(
    ('x', 'kernel', 'strides', 'form'),
    [
        ((40, 1), (11, 41, 1, 32), (2, 2), 'patches'),
        ((161, 1), (11, 41, 1, 32), (2, 2), 'frequency_first'),
        ((20, 32), (11, 21, 32, 32), (1, 2), 'dft'),
        ((10, 32), (11, 21, 32, 96), (1, 2), 'dft'),
        ((10, 32), (11, 21, 32, 96), (2, 2), 'frequency_first'),
        ((10, 32), (3, 3, 32, 32), (1, 1), 'frequency_first'),
    ],
)
def test_deep_speech_2_layers_take_their_fast_forms(x, kernel, strides, form):
    with tf.Graph().as_default():
        tensors = tf.placeholder(tf.float32, [None, None, *x]), tf.placeholder(tf.float32, kernel)
        assert convolution._fastest_form(*tensors, *strides, 'CPU') == form
        assert convolution._fastest_form(*tensors, *strides, 'GPU') == 'plain'


def test_other_types_take_the_plain_form():
    with tf.Graph().as_default(), tf.Session() as session:
        y = conv2d(tf.ones([1, 3, 4, 8], tf.bfloat16), tf.ones([11, 21, 8, 8], tf.bfloat16), 1, 2)
        assert y.dtype == tf.bfloat16
        assert session.run(tf.cast(y, tf.float32))[0, 0, 0, 0] == 3 * 4 * 8


def test_output_length_rounds_up_for_ints_arrays_and_tensors():
    assert [output_length(n, 2) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert output_length(np.array([5, 6]), 3).tolist() == [2, 2]
    with tf.Graph().as_default(), tf.Session() as session:
        assert session.run(output_length(tf.constant([5, 7]), 3)).tolist() == [2, 3]


def test_a_wrong_form_is_refused():
    with tf.Graph().as_default():
        x, kernel = tf.zeros([1, 4, 4, 1]), tf.zeros([3, 3, 1, 1])
        with pytest.raises(ValueError, match='must be auto or one of'):
            conv2d(x, kernel, 1, 1, form='fft')
        with pytest.raises(ValueError, match='time stride of 1'):
            conv2d(x, kernel, 2, 1, form='dft')


def test_a_layer_ignores_padding_and_halves_lengths_upwards():
    x = np.random.default_rng(1).normal(size=[1, 7, 10, 1]).astype('f')

    def values(frames):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            padded = tf.pad(tf.constant(x), [[0, 0], [0, frames - 7], [0, 0], [0, 0]])
            layer = convolution.convolution(padded, tf.constant([7]), 4, (11, 41), (2, 2), Phase(), True, 'conv')
            session.run(tf.global_variables_initializer())
            return session.run(layer)

    y, lengths = values(7)
    longer, _ = values(12)
    assert lengths.tolist() == [4]
    np.testing.assert_allclose(longer[:, :4], y, atol=1e-6)
    assert not longer[:, 4:].any()
    assert y.min() >= 0
