"""The trainer, on the task of one variable of toy_tasks.py."""

import itertools
import json
import os
import signal

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.toy_tasks import CONFIG, NUM_ROWS, make_task, replace
from utils.errors import DataError
from utils.train.checkpoint import Checkpoints
from utils.train.strategies import local_runtime
from utils.train.trainer import Trainer


def weights(run_dir, name=None):
    checkpoints = Checkpoints(str(run_dir))
    reader = tf.train.load_checkpoint(checkpoints.prefix(name or f'model-{checkpoints.steps()[-1]}'))
    return {key: reader.get_tensor(key) for key in sorted(reader.get_variable_to_shape_map())}


def train(run_dir, config=CONFIG, **options):
    return Trainer(make_task(**options), config, local_runtime(), str(run_dir)).run()


def history(run_dir):
    return [json.loads(line) for line in (run_dir / 'history.jsonl').read_text().splitlines()]


def test_every_epoch_is_trained_validated_and_kept(tmp_path):
    seen = []
    assert train(tmp_path, seen=seen) == 0
    per_epoch = [sorted(sum(seen[i : i + 4], [])) for i in (1, 5, 9)]  # the first is the trial of the worst batch
    assert per_epoch == [list(range(NUM_ROWS))] * 3
    records = history(tmp_path)
    assert [(r['epoch'], r['step']) for r in records] == [(0, 4), (1, 8), (2, 12)]
    assert records[2]['train_loss'] < records[0]['train_loss']
    assert (tmp_path / 'curves.png').stat().st_size > 1000
    assert any((tmp_path / 'logs').iterdir())


def test_the_mean_of_the_last_epochs_is_saved(tmp_path):
    train(tmp_path)
    values = [weights(tmp_path, f'model-{step}')['w'] for step in (8, 12)]
    np.testing.assert_allclose(weights(tmp_path, 'average-12')['w'], np.mean(values), rtol=1e-6)


def test_the_best_checkpoint_is_kept_and_named(tmp_path):
    train(
        tmp_path, config=replace(epochs=5, keep_checkpoints=1, average_checkpoints=0), errors=[0.9, 0.2, 0.8, 0.7, 0.6]
    )
    checkpoints = Checkpoints(str(tmp_path))
    assert checkpoints.best()['name'] == 'model-8'
    assert checkpoints.steps() == [8, 20]
    assert (checkpoints.resolve('best'), checkpoints.resolve('latest')) == ('model-8', 'model-20')


@pytest.mark.parametrize('name', ['a[1]', 'b\\c', '[x', 'd]*?'])
def test_a_run_directory_may_have_any_name(tmp_path, name):
    train(tmp_path / 'plain')
    train(tmp_path / name, config=replace(epochs=2))
    train(tmp_path / name)
    assert Checkpoints(str(tmp_path / name)).resolve('average') == 'average-12'
    for checkpoint in ('model-12', 'average-12'):
        assert weights(tmp_path / name, checkpoint)['w'] == weights(tmp_path / 'plain', checkpoint)['w']


def test_training_stops_early_when_dev_does_not_improve(tmp_path):
    train(tmp_path, config=replace(epochs=9, early_stop=2), errors=[0.5, 0.4, 0.6, 0.6, 0.1])
    assert len(history(tmp_path)) == 4


def test_plateau_divides_the_rate(tmp_path):
    config = replace(epochs=4, lr_schedule='plateau', lr_decay=10.0)
    train(tmp_path, config=config, errors=[0.5, 0.6, 0.4, 0.3])
    np.testing.assert_allclose([r['learning_rate'] for r in history(tmp_path)], [0.1, 0.1, 0.01, 0.01])


def test_a_bad_step_names_its_utterances_and_changes_nothing(tmp_path, caplog):
    one_epoch = replace(epochs=1, average_checkpoints=0)
    with pytest.raises(DataError, match='2 steps in a row without a finite loss'):
        train(tmp_path, config=replace(epochs=1, max_bad_steps=2, checkpoint_secs=0.0), bad_rows=[5, 7])
    assert 'Utterances: row 5' in caplog.text and 'Utterances: row 7' in caplog.text
    # rows 3-5 are the second batch: the first was trained on, the second changed no weight
    saved = weights(tmp_path, 'model-2')
    assert saved['w'] == weights(tmp_path, 'model-1')['w']
    assert np.isfinite(saved['w']) and np.isfinite(saved['moving_mean'])
    assert train(tmp_path / 'other', config=one_epoch, bad_rows=[5]) == 0
    assert np.isfinite(weights(tmp_path / 'other')['w'])


class Killed(Exception):
    pass


@pytest.mark.parametrize('after', [2, 4, 7, 10])
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, after):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    train(whole)
    config = replace(checkpoint_secs=0.0)  # a checkpoint after every step
    trainer = Trainer(make_task(), config, local_runtime(), str(killed))
    run_step, steps = trainer._graph.run_step, itertools.count(1)

    def dying(*arguments):
        if next(steps) > after:
            raise Killed
        return run_step(*arguments)

    trainer._graph.run_step = dying
    with pytest.raises(Killed):
        trainer.run()
    assert train(killed) == 0
    for name, value in weights(whole).items():
        assert np.array_equal(value, weights(killed)[name]), name
    for one, other in zip(history(whole), history(killed), strict=True):
        assert {**one, 'seconds': 0, 'utterances_per_sec': 0} == {**other, 'seconds': 0, 'utterances_per_sec': 0}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves_with_its_status(tmp_path, number):
    steps = itertools.count(0)

    def interrupt():
        if next(steps) == 6:
            os.kill(os.getpid(), number)

    assert train(tmp_path, on_step=interrupt) == 128 + number
    assert Checkpoints(str(tmp_path)).steps()[-1] == 6
    train(tmp_path)
    train(tmp_path / 'whole')
    assert weights(tmp_path)['w'] == weights(tmp_path / 'whole')['w']


def test_a_changed_plan_starts_its_epoch_over(tmp_path, caplog):
    steps = itertools.count(0)
    interrupt = lambda: os.kill(os.getpid(), signal.SIGTERM) if next(steps) == 6 else None  # noqa: E731
    train(tmp_path, on_step=interrupt)
    with caplog.at_level('INFO'):
        train(tmp_path, config=replace(seed=2))
    assert 'epoch 1 starts over' in caplog.text


def test_a_checkpoint_that_was_cut_off_does_not_count(tmp_path):
    train(tmp_path)
    folder = tmp_path / 'checkpoints'
    (folder / 'model-99.index').write_bytes(b'')
    (folder / 'model-99.data-00000-of-00001').write_bytes(b'half')
    checkpoints = Checkpoints(str(tmp_path))
    assert checkpoints.steps()[-1] == 12
    checkpoints.clean()
    assert not list(folder.glob('model-99*'))


def test_a_damaged_training_state_is_named_with_its_remedy(tmp_path):
    train(tmp_path)
    (tmp_path / 'checkpoints' / 'model-12.json').write_text('{"step": 12, "epoch": "three"}')
    with pytest.raises(DataError, match=r"model-12.json: not a training state .*epoch.*; remove model-12"):
        train(tmp_path)


def test_a_loss_that_leaves_a_variable_out_is_a_programming_error(tmp_path):
    task = make_task()

    def loss_fn(batch, step, seed):
        tf.get_variable('unused', initializer=0.0)
        return task.loss_fn(batch, step, seed)

    with pytest.raises(ValueError, match='does not depend on unused'):
        Trainer(task._replace(loss_fn=loss_fn), CONFIG, local_runtime(), str(tmp_path))
