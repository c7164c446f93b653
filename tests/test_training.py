"""The join of data and model: what of an index is trained on, and what is said of the rest."""

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from models.config import ModelConfig
from models.las_inference import symbol_limits
from tests.indexes import make_index
from tests.toy_tasks import MODEL_CONFIG, MODELS, SMALL, make_model_task, train_steps
from utils import training
from utils.config import TrainConfig
from utils.data.batching import padded_frames
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.run_directory import Run, RunConfig
from utils.train.strategies import local_runtime
from utils.training import _usable

BUDGET = 100


@pytest.mark.parametrize(('ctc_weight', 'notes'), [(0.5, ['1 of 2 transcripts have too many symbols']), (0.0, [])])
def test_transcripts_that_the_ctc_head_of_las_cannot_learn_are_counted(tmp_path, caplog, ctc_weight, notes):
    index = make_index(tmp_path, [(16, 'abcde'), (16, 'abcd')])  # the head has 2 frames for every 8
    config = RunConfig(ModelConfig(model='las', ctc_weight=ctc_weight), TrainConfig(), 'mfcc-13-0.02-0.02')
    run = Run(str(tmp_path), config, Vocabulary.english(), FeatureStatistics(np.zeros(13), np.ones(13)))
    assert len(_usable(index, run)) == 2
    assert [record.message[: len(note)] for record, note in zip(caplog.records, notes, strict=True)] == notes


@pytest.mark.parametrize('secs_per_frame', [0.08, 0.16, 0.04, 0.24])
def test_las_may_write_25_symbols_a_second_whatever_the_step_of_its_frames(secs_per_frame):
    frames = round(12 / secs_per_frame)
    assert symbol_limits(frames, secs_per_frame) >= 25 * 12
    assert symbol_limits(100, 0.08) == 210


@pytest.mark.parametrize('augment_from_epoch', [0, 2])
def test_a_changed_tempo_stays_within_the_frames_of_a_batch(tmp_path, monkeypatch, augment_from_epoch):
    monkeypatch.setattr(training, 'Pipeline', lambda load, num_features: load)
    index = make_index(tmp_path, [(20 + row, 'ab') for row in range(24)])
    options = TrainConfig(frames_per_batch=BUDGET, tempo_range=0.3, augment_from_epoch=augment_from_epoch)
    config = RunConfig(ModelConfig(features=13), options, 'mfcc-13-0.02-0.01')
    statistics = FeatureStatistics(np.zeros(13, 'f'), np.ones(13, 'f'))
    task = training.training_task(Run('', config, Vocabulary.english(), statistics), index, 1)
    load = task.make_pipeline()
    for epoch in range(4):
        plan = task.plan(epoch)
        assert sorted(np.concatenate(plan).tolist()) == list(range(24))
        loaded = [load(rows, epoch)[0] for rows in plan]
        assert max(each.shape[0] * each.shape[1] for each in loaded) <= BUDGET
        if epoch < augment_from_epoch:  # the whole budget is used
            assert max(padded_frames(rows, index.frames) for rows in plan) > 0.9 * BUDGET


def test_weights_mix_the_indexes_and_each_copy_is_augmented_on_its_own(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(training, 'Pipeline', lambda load, num_features: load)
    index = make_index(tmp_path, [(200 + row, 'ab') for row in range(6)])
    origins, paths = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 1], [1, 2]]), ['a.json', 'b.json']
    index = dataclasses.replace(index, origins=origins, index_paths=paths)
    options = TrainConfig(train_weights=(0.5, 2.0), batch_size=4, time_masks=2)
    config = RunConfig(ModelConfig(features=13), options, 'mfcc-13-0.02-0.01')
    statistics = FeatureStatistics(np.zeros(13, 'f'), np.ones(13, 'f'))
    with caplog.at_level('INFO'):
        task = training.training_task(Run('', config, Vocabulary.english(), statistics), index, 1)
    assert caplog.messages == ['the first epoch has 6 utterances: 2 of a.json (weight 0.5), 4 of b.json (weight 2)']
    load = task.make_pipeline()
    frames = [sorted(np.concatenate([load(rows, epoch)[1] for rows in task.plan(epoch)]).tolist()) for epoch in (0, 1)]
    assert [each[2:] for each in frames] == [[204, 204, 205, 205]] * 2
    assert sorted(frames[0][:2] + frames[1][:2]) == [200, 201, 202, 203]
    assert sorted(np.concatenate(task.plan_trial(0)).tolist()) == list(range(8)) and task.name_row(6).startswith('b.js')
    one, other = (load(np.array([row]), 0)[0] for row in (4, 6))
    assert one.shape == other.shape and (one != other).any()


def test_dev_utterances_that_are_training_utterances_too_are_counted(tmp_path, caplog):
    index = make_index(tmp_path, [(9, 'a'), (9, 'b'), (9, 'c')])
    training._warn_of_overlap(index.take([0]), index.take([1, 2]))
    assert not caplog.messages
    training._warn_of_overlap(index.take([0, 1]), index.take([1, 2]))
    assert caplog.messages == ['1 of 2 dev utterances are training utterances too: scores will be too good']


def test_the_share_of_ctc_goes_linearly_to_its_end_and_stays_there():
    options = TrainConfig(ctc_weight_steps=4, ctc_weight_end=0.1)
    config = RunConfig(ModelConfig('las', ctc_weight=0.5), options, '')
    with tf.Graph().as_default(), tf.Session() as session:
        shares = session.run([training._ctc_weight(config, tf.constant(step)) for step in (0, 1, 2, 4, 9)])
    np.testing.assert_allclose(shares, [0.5, 0.4, 0.3, 0.1, 0.1], rtol=1e-6)
    assert training._ctc_weight(dataclasses.replace(config, train=TrainConfig()), 3) is None


REGULARISED = dataclasses.replace(
    MODEL_CONFIG, keep_prob=0.8, weight_noise=0.1, weight_noise_from_step=2, ctc_smoothing=0.1, weight_decay=0.5,
    ema=0.9, ctc_weight_steps=5, ctc_weight_end=0.05,
)  # fmt: skip


@pytest.mark.parametrize('name', MODELS)
def test_a_run_with_noise_smoothing_decay_and_averages_resumes_to_the_bit(name, tmp_path):
    task = make_model_task(ModelConfig(name, **{**SMALL, **MODELS[name]}), REGULARISED)
    batches, path = [np.arange(i, i + 4) % 12 for i in range(6)], str(tmp_path / 'model-3')
    whole, results = train_steps(task, REGULARISED, batches)
    train_steps(task, REGULARISED, batches[:3], save=path)
    resumed, _ = train_steps(task, REGULARISED, batches[3:], restore=path)
    np.testing.assert_equal(resumed, whole)
    assert all(result.is_finite for result in results)


def test_noise_begins_with_its_step_and_is_drawn_anew_at_each():
    config = dataclasses.replace(MODEL_CONFIG, learning_rate=0.0, weight_noise=0.3, weight_noise_from_step=1)
    model = ModelConfig('ds2', **{**SMALL, **MODELS['ds2']})
    batches = [np.arange(4)] * 3
    _, noisy = train_steps(make_model_task(model, config), config, batches)
    _, plain = train_steps(make_model_task(model), dataclasses.replace(config, weight_noise=0.0), batches)
    losses = [result.losses.sum() for result in noisy]
    assert losses[0] == plain[0].losses.sum() == plain[1].losses.sum()
    assert len({*losses}) == 3


def test_towers_draw_their_own_noise():
    config = dataclasses.replace(MODEL_CONFIG, learning_rate=0.0, weight_noise=0.3)
    task = make_model_task(ModelConfig('ds2', **{**SMALL, **MODELS['ds2']}), config)
    towers = local_runtime(inter_op_threads=2, towers=2)
    _, (noisy,) = train_steps(task, config, [np.zeros(2, int)], towers)
    assert noisy.rows.tolist() == [0, 0] and noisy.losses[0] != noisy.losses[1]
