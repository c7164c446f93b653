"""Listen, Attend and Spell: lengths, teacher forcing against free running, variables and gradients."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import models
from models import attention, las, las_inference
from models.config import ModelConfig
from models.fast.scan import product
from models.las import cross_entropies, smoothed_targets
from models.layers import Phase
from models.listener import CTC_FRAMES
from models.speller import Speller, make_speller, spell
from utils.decode.ctc import ctc_log_prob

SMALL = ModelConfig(
    'las', features=13, classes=5, hidden_units=6, rnn_layers=4, rnn_cell='lstm', activation='tanh', conv_layers=0,
    batch_norm=False,
)  # fmt: skip
CONFIGS = {
    'location': SMALL,
    'content': dataclasses.replace(SMALL, attention='content', speller_layers=2),
    'gru, batch norm, three layers': dataclasses.replace(SMALL, rnn_cell='gru', rnn_layers=3, batch_norm=True),
    'rnn, one direction, five layers': dataclasses.replace(
        SMALL, rnn_cell='rnn', rnn_layers=5, bidirectional=False, speller_layers=2
    ),
    'two convolutions, three layers': dataclasses.replace(SMALL, conv_layers=2, rnn_layers=3, batch_norm=True),
    'two heads': dataclasses.replace(SMALL, attention_heads=2),
    'three heads by content': dataclasses.replace(SMALL, attention='content', attention_heads=3),
    'no ctc': dataclasses.replace(SMALL, ctc_weight=0.0),
}
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=[3, 43, 13]).astype('f')
LENGTHS = np.array([43, 16, 25], np.int32)
LABELS, LABEL_LENGTHS = np.array([[1, 2, 3], [3, 0, 0], [2, 2, 0]], np.int32), np.array([3, 1, 2], np.int32)


class Built:
    """A model's inference graph with seeded weights that are far from small, to be run on any batch."""

    def __init__(self, config):
        with tf.Graph().as_default():
            self.features, self.lengths = tf.placeholder(tf.float32, [None, None, 13]), tf.placeholder(tf.int32, [None])
            self.symbols = tf.placeholder(tf.int32, [None, None])  # [batch, steps], with <sos>
            self.labels, self.label_lengths = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.int32, [None])
            model = las.forward(self.features, self.lengths, config, Phase())
            self.listened = model.listened
            self.logits = tf.transpose(spell(model.speller, tf.transpose(self.symbols), Phase()), [1, 0, 2])
            self.greedy = las_inference.greedy(model, config, 0.08)
            transcripts = self.labels, self.label_lengths
            self.losses = las.losses(model, *transcripts, config, Phase(), models.Criterion())
            self.session = tf.Session()
            rng = np.random.default_rng(3)
            variables = tf.global_variables()
            values = [
                np.abs(rng.normal(size=v.shape)) if 'variance' in v.name else rng.normal(size=v.shape)
                for v in variables
            ]
            feeds = {v.initializer.inputs[1]: value for v, value in zip(variables, values, strict=True)}
            self.session.run([variable.initializer for variable in variables], feeds)

    def run(
        self, fetches, features=FEATURES, lengths=LENGTHS, symbols=None, labels=LABELS, label_lengths=LABEL_LENGTHS
    ):
        feeds = {self.features: features, self.lengths: lengths, self.labels: labels, self.label_lengths: label_lengths}
        if symbols is not None:
            feeds[self.symbols] = symbols
        return self.session.run(fetches, feeds)


@functools.cache
def built(config):
    return Built(config)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_variable_gets_a_gradient(name):
    config = CONFIGS[name]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        phase = Phase(is_training=True, keep_prob=0.9, seed=tf.constant([1, 1]))
        output = las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, phase)
        criterion = models.Criterion('neighborhood', (), sample_prob=0.5)
        losses = las.losses(output, tf.constant(LABELS), tf.constant(LABEL_LENGTHS), config, phase, criterion)
        variables = tf.trainable_variables()
        gradients = tf.gradients(losses, variables)
        assert None not in gradients
        session.run(tf.global_variables_initializer())
        values, found = session.run([gradients, losses])
    assert np.isfinite(found).all()
    for variable, value in zip(variables, values, strict=True):
        assert np.isfinite(np.asarray(value)).all() and np.any(value), variable.name


def test_a_ctc_weight_of_0_leaves_no_ctc_variables():
    def names(config):
        with tf.Graph().as_default():
            las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, Phase())
            return [variable.name for variable in tf.global_variables() if 'ctc' in variable.name]

    assert names(SMALL) and not names(CONFIGS['no ctc'])


def test_weights_start_uniform_within_a_tenth():
    with tf.Graph().as_default(), tf.Session() as session:
        las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), SMALL, Phase())
        session.run(tf.global_variables_initializer())
        kernels = [v for v in session.run(tf.trainable_variables()) if v.ndim == 2]
    largest = [abs(kernel).max() for kernel in kernels]
    assert max(largest) <= 0.1 and np.median(largest) > 0.08


@pytest.mark.parametrize(
    ('name', 'layers'), [('gru, batch norm, three layers', 3), ('two convolutions, three layers', 3), ('location', 4)]
)
def test_the_pyramid_shortens_time_to_an_eighth_rounded_up(name, layers):
    assert CONFIGS[name].rnn_layers == layers
    model = built(CONFIGS[name])
    memory, mask, lengths, ctc_logits = model.run(list(model.listened))
    assert lengths.tolist() == mask.sum(1).tolist() == [6, 2, 4]
    assert memory.shape == (3, 6, 12) and ctc_logits.shape == (CTC_FRAMES * 6, 3, 5)
    assert not memory[1, 2:].any() and memory[1, :2].all()


@pytest.mark.parametrize('name', CONFIGS)
def test_padding_and_other_batch_members_change_no_logits(name):
    model, inputs = built(CONFIGS[name]), np.concatenate([np.full([3, 1], 4), LABELS], 1)
    together = model.run(model.logits, symbols=inputs)
    longer = model.run(model.logits, np.concatenate([FEATURES, 100 + FEATURES[:, :17]], 1), symbols=inputs)
    np.testing.assert_allclose(longer, together, rtol=1e-4, atol=1e-5)
    for row, frames in enumerate(LENGTHS):
        one = slice(row, row + 1)
        alone = model.run(model.logits, FEATURES[one, :frames], LENGTHS[one], inputs[one])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', CONFIGS)
def test_greedy_spelling_says_what_teacher_forcing_says_of_the_same_symbols(name):
    model = built(CONFIGS[name])
    written = las_inference.GreedyOutput(*model.run(list(model.greedy)))
    inputs = np.concatenate([np.full([3, 1], 4), written.ids], 1)
    logits = model.run(model.logits, symbols=inputs)
    log_probs = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
    for row, length in enumerate(written.lengths):
        frames = -(-LENGTHS[row] // las.TIME_STRIDE)
        limit = 2 * frames + 10
        assert length <= limit and written.is_cut[row] == (length == limit)
        np.testing.assert_array_equal(log_probs[row, :length, :].argmax(1), written.ids[row, :length])
        likeliest = log_probs[row].max(1)
        np.testing.assert_allclose(likeliest[:length], written.log_probs[row, :length], rtol=1e-3, atol=1e-4)
        if length < limit:
            assert log_probs[row, length].argmax() == 4
            np.testing.assert_allclose(likeliest[length], written.end_log_probs[row], rtol=1e-3, atol=1e-4)
        else:
            assert written.end_log_probs[row] == 0
        np.testing.assert_allclose(written.weights[row, :length, :frames].sum(1), 1, rtol=1e-4)
        assert not written.weights[row, :, frames:].any()


@pytest.mark.parametrize('name', CONFIGS)
def test_the_internal_language_model_is_the_speller_over_an_encoding_of_zeros(name):
    """Without a context vector: what the speller gives where every frame that it may attend to is zero."""
    config, symbols = CONFIGS[name], [[4, 1, 3], [4, 0, 2], [4, 2, 2]]
    with tf.Graph().as_default():
        with tf.variable_scope('model'):
            model = las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, Phase())
        silent = model.listened._replace(memory=tf.zeros_like(model.listened.memory))
        with tf.variable_scope('model/speller', reuse=True):
            over_zeros = make_speller(silent, config, Phase(), tf.zeros_initializer())
        logits, expected, state = [], [], model.speller.start(3)
        other = over_zeros.start(3)
        for column in zip(*symbols, strict=True):
            state = model.speller.advance_alone(tf.constant(column), state)
            other = over_zeros.advance(tf.constant(column), other)
            logits, expected = [*logits, model.speller.logits(state)], [*expected, over_zeros.logits(other)]
        with tf.Session() as session:
            rng, variables = np.random.default_rng(3), tf.global_variables()
            values = [rng.uniform(0.5, 1, v.shape) * rng.choice([-1, 1], v.shape) for v in variables]
            values = [abs(each) if 'variance' in v.name else each for v, each in zip(variables, values, strict=True)]
            feeds = {v.initializer.inputs[1]: each for v, each in zip(variables, values, strict=True)}
            session.run([each.initializer for each in variables], feeds)
            found, wanted = session.run([logits, expected])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.1  # it depends on the symbols


def test_loss_is_the_mean_over_symbols_of_both_criteria():
    config = CONFIGS['location']
    model = built(config)
    inputs = np.concatenate([np.full([3, 1], 4), LABELS], 1)
    losses, logits, heard = model.run([model.losses, model.logits, model.listened.ctc_logits], symbols=inputs)
    log_probs = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)
    heard = heard - np.logaddexp.reduce(heard, axis=2, keepdims=True)
    for row, length in enumerate(LABEL_LENGTHS):
        symbols = [*LABELS[row, :length], 4]
        cost = -sum(log_probs[row, step, symbol] for step, symbol in enumerate(symbols))
        frames = CTC_FRAMES * -(-LENGTHS[row] // 8)
        ctc = -ctc_log_prob(np.exp(heard[:frames, row]), np.array(symbols[:-1], np.int64), 4)
        np.testing.assert_allclose(losses[row], (0.8 * cost + 0.2 * ctc) / (length + 1), rtol=1e-3)


@pytest.mark.parametrize(('frames', 'width'), [(7, 3), (7, 31), (1, 5), (40, 31)])
def test_windows_by_a_kernel_are_a_convolution_and_so_is_their_gradient(frames, width):
    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.constant(rng.random([2, frames]), tf.float32)
        kernel = tf.constant(rng.normal(size=[width, 4]), tf.float32)
        factors = tf.constant(rng.normal(size=[2, frames, 4]), tf.float32)
        found = []
        for y in (
            tf.tensordot(attention.windows(weights, width), kernel, 1),
            tf.nn.conv1d(weights[:, :, tf.newaxis], kernel[:, tf.newaxis], 1, 'SAME'),
        ):
            found.append([y, *tf.gradients(y * factors, [weights, kernel])])
        fast, plain = session.run(found)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def by_frames(weights, width):
    """Windows of `width` around each frame, `[frames, width]`, zeros beyond the ends."""
    padded = np.pad(weights, (width - 1) // 2)
    return np.array([padded[i : i + width] for i in range(len(weights))])


@pytest.mark.parametrize('kind', ['content', 'location'])
def test_heads_have_their_own_energies_and_shares_of_the_context(kind):
    rng, frames, heads = np.random.default_rng(0), 5, 2
    memory, state = rng.normal(size=[1, frames, 6]).astype('f'), rng.normal(size=[1, 4]).astype('f')
    previous = rng.dirichlet(np.ones(frames), size=[1, heads]).astype('f')
    with tf.Graph().as_default(), tf.Session() as session:
        encoded = tf.constant(memory), tf.ones([1, frames])
        found = attention.multi_head_attention(kind, heads, *encoded, 4, 8, tf.random_normal_initializer(seed=1))
        tensors = found.weights | found.shared

        def apply(name, x):
            return product(x, tensors[name])

        ours = found.attend(apply, found.shared, tf.constant(state), tf.constant(previous))
        session.run(tf.global_variables_initializer())
        (weights, context), values = session.run([ours, {v.op.name: v for v in tf.global_variables()}])
    assert all(value.shape[-1] == 4 for value in values.values())
    for head in range(heads):
        v = {name.partition('/')[2]: value for name, value in values.items() if name.startswith(f'head{head + 1}/')}
        keys, query = memory[0] @ v['keys/kernel'] + v['keys/bias'], state[0] @ v['query']
        if kind == 'content':
            energies = np.tanh(keys) @ np.tanh(query)
        else:
            around = by_frames(previous[0, head], attention.LOCATION_WIDTH)
            energies = np.tanh(keys + query + around @ v['location']) @ v['score']
        expected = np.exp(energies) / np.exp(energies).sum()
        np.testing.assert_allclose(weights[0, head], expected, rtol=1e-4)
        np.testing.assert_allclose(context[0, head * 3 : head * 3 + 3], expected @ memory[0, :, head::heads], rtol=1e-4)


def training_loss(config, labels, label_lengths, phase, sample_prob=0.0, **criterion):
    """Losses and the gradient of one variable, with initial weights."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        model = las.forward(tf.constant(FEATURES), tf.constant(LENGTHS), config, phase)
        criterion = models.Criterion(sample_prob=sample_prob, **criterion)
        losses = las.losses(model, tf.constant(labels), tf.constant(label_lengths), config, phase, criterion)
        gradient = tf.gradients(losses, tf.trainable_variables()[0])[0]
        session.run(tf.global_variables_initializer())
        return session.run([losses, gradient])


def test_a_transcript_too_long_for_the_ctc_head_costs_its_spelling_alone():
    labels, lengths = np.ones([3, 20], np.int32), np.array([20, 1, 1], np.int32)  # 20 equal ones need 39 frames of 12
    losses, gradient = training_loss(SMALL, labels, lengths, Phase())
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()
    # new weights give every symbol about the same probability
    np.testing.assert_allclose(losses[0], 0.8 * np.log(5), rtol=0.1)


def test_smoothing_and_weight_of_the_ctc_head_are_those_of_the_criterion():
    def losses(**criterion):
        return training_loss(SMALL, LABELS, LABEL_LENGTHS, Phase(), **criterion)[0]

    spelling, half, whole = losses(ctc_weight=0.0), losses(ctc_weight=0.5), losses()
    np.testing.assert_allclose(whole, spelling + 0.2 * (half - spelling) / 0.5, rtol=1e-5)
    # new weights are nearly uniform: smoothing takes its share of CTC away and adds next to nothing
    smoothed = losses(ctc_weight=0.5, ctc_smoothing=0.5)
    np.testing.assert_allclose(smoothed, 0.5 * (half + 0.5 * spelling), rtol=0.02)
    unfit = np.ones([3, 20], np.int32), np.array([20, 1, 1], np.int32)
    assert np.isfinite(training_loss(SMALL, *unfit, Phase(), ctc_smoothing=0.5)[1]).all()


def test_scheduled_sampling_changes_the_loss_and_repeats_with_its_seed():
    def losses(seed, sample_prob):
        # an array, because each call has a graph of its own
        phase = Phase(is_training=True, seed=np.array([seed, 0], np.int32))
        return training_loss(CONFIGS['content'], LABELS, LABEL_LENGTHS, phase, sample_prob)[0]

    given, sampled = losses(1, 0.0), losses(1, 1.0)
    np.testing.assert_array_equal(sampled, losses(1, 1.0))
    assert (sampled != given).any() and (losses(2, 1.0) != sampled).any()


def drawn_symbols(num_steps, num_symbols, rows, sample_prob):
    """Symbols that a speller of equal probabilities got, `[steps, symbols, rows]`; 4 is the given one, never drawn."""
    with tf.Graph().as_default(), tf.Session() as session:
        step, ban = tf.placeholder(tf.int32), tf.constant([0.0, 0, 0, 0, -1e9])
        speller = Speller(
            tf.eye(5), {}, {}, step=lambda apply, shared, row, state: [tf.identity(row)], step_alone=None,
            start=lambda rows: [tf.zeros([rows, 5])],
            logits=lambda state: state[0] if state[0].shape.ndims == 3 else 0 * state[0] + ban, attended=None,
        )  # fmt: skip
        phase = Phase(is_training=True, seed=tf.stack([1, step]))
        given = tf.fill([num_symbols, rows], 4)
        used = tf.argmax(spell(speller, given, phase, sample_prob), 2)
        return np.stack([session.run(used, {step: n}) for n in range(num_steps)])


def test_every_row_draws_each_symbol_equally_often_whatever_the_choice():
    drawn = drawn_symbols(num_steps=60, num_symbols=21, rows=3, sample_prob=0.25)[:, 1:]
    assert (drawn_symbols(1, 2, 3, 1.0)[:, 0] == 4).all()  # <sos> is never replaced
    for row in range(3):
        counts = np.bincount(drawn[..., row].ravel(), minlength=5)
        np.testing.assert_allclose(counts / 1200, [1 / 16] * 4 + [3 / 4], atol=0.03)


def test_no_draw_of_scheduled_sampling_repeats_one_of_another_step_or_symbol():
    drawn = drawn_symbols(num_steps=3, num_symbols=5, rows=400, sample_prob=1.0)[:, 1:].reshape(12, 400)
    same = (drawn[:, None] == drawn).mean(2) - np.eye(12)
    assert same.max() < 0.4  # a quarter agree by chance


def targets(symbols, lengths, smoothing, frequencies=()):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(
            smoothed_targets(tf.constant(symbols), tf.constant(lengths), 5, smoothing, tuple(frequencies))
        )


def test_neighborhood_smoothing_gives_neighbours_a_tenth_as_5_to_2():
    found = targets([[0, 1, 2, 3, 4]], [4], 'neighborhood')[0]  # 4 is the end
    np.testing.assert_allclose(found[0], [0.9, 0.1 * 5 / 7, 0.1 * 2 / 7, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.1 * 5 / 12, 0.9, 0.1 * 5 / 12, 0.1 * 2 / 12, 0], rtol=1e-6)
    np.testing.assert_allclose(found[3], [0, 0.1 * 2 / 7, 0.1 * 5 / 7, 0.9, 0], rtol=1e-6)
    np.testing.assert_allclose(found[4], [0, 0, 0.1 * 2 / 7, 0.1 * 5 / 7, 0.9], rtol=1e-6)


def test_smoothing_is_blind_to_padding_and_each_target_sums_to_one():
    frequencies = [0.4, 0.3, 0.1, 0.1, 0.1]
    for smoothing in ('none', 'unigram', 'neighborhood'):
        padded = targets([[0, 1, 4, 4, 4], [3, 3, 2, 1, 4]], [2, 4], smoothing, frequencies)
        np.testing.assert_allclose(padded.sum(2), 1, rtol=1e-6)
        np.testing.assert_allclose(padded[0, :3], targets([[0, 1, 4]], [2], smoothing, frequencies)[0], rtol=1e-6)


def test_unigram_smoothing_gives_a_twentieth_by_frequency():
    found = targets([[1, 4]], [1], 'unigram', [0.5, 0.2, 0.1, 0.1, 0.1])[0]
    np.testing.assert_allclose(found[0], [0.025, 0.95 + 0.01, 0.005, 0.005, 0.005], rtol=1e-6)


def test_cross_entropy_counts_real_steps_only():
    logits = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]], 'f'))
    target = np.array([[[1, 0, 0], [0, 1, 0]]], 'f')
    with tf.Graph().as_default(), tf.Session() as session:
        one, both = (session.run(cross_entropies(tf.constant(logits), tf.constant(target), [n]))[0] for n in (1, 2))
    np.testing.assert_allclose([one, both], [-np.log(0.5), -np.log(0.5) - np.log(0.8)], rtol=1e-5)
