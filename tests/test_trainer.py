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
from utils.train.lock import lock_run
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


def test_an_epoch_without_a_finite_step_has_no_loss(tmp_path, caplog):
    with caplog.at_level('INFO'):
        assert train(tmp_path, config=replace(epochs=2), errors=[0.5, 0.4], bad_epochs=[1]) == 0
    assert [record['train_loss'] is None for record in history(tmp_path)] == [False, True]
    assert 'train loss nan' in caplog.text and 'train loss 0.00' not in caplog.text


def test_a_training_that_never_made_an_update_ends_with_an_error(tmp_path):
    config = replace(epochs=2, max_bad_steps=100)
    for _ in range(2):  # the second time nothing is left to train
        with pytest.raises(DataError, match='not one of 8 steps had a finite loss and gradient'):
            train(tmp_path, config=config, bad_rows=range(NUM_ROWS))
    assert not list((tmp_path / 'checkpoints').glob('average-*'))


def test_scores_that_are_not_numbers_are_never_the_best(tmp_path):
    train(tmp_path, config=replace(epochs=2, average_checkpoints=0), errors=[np.nan, np.nan])
    checkpoints = Checkpoints(str(tmp_path))
    assert checkpoints.best() is None
    with pytest.raises(DataError, match='no best checkpoint'):
        checkpoints.resolve('best')
    assert not checkpoints.note_best('model-4', {'error': 0.5, 'dev_loss': np.nan})
    assert checkpoints.note_best('model-8', {'error': 0.5, 'dev_loss': np.inf})
    assert checkpoints.note_best('model-4', {'error': 0.5, 'dev_loss': 3.0})


def test_another_dev_set_scores_the_best_so_far_again(tmp_path, caplog):
    train(tmp_path, config=replace(epochs=2, average_checkpoints=0), errors=[0.1, 0.2], dev='old')
    checkpoints = Checkpoints(str(tmp_path))
    assert checkpoints.best()['name'] == 'model-4'
    with caplog.at_level('INFO'):  # model-4 has 0.6 on the new set, the third epoch 0.5
        train(tmp_path, config=replace(epochs=3, average_checkpoints=0), errors=[0.6, 0.5], dev='new')
    assert 'the best so far, model-4, on this dev set' in caplog.text
    best = checkpoints.best()
    assert (best['name'], best['error'], best['dev']) == ('model-12', 0.5, 'new')
    caplog.clear()
    train(tmp_path, config=replace(epochs=3, average_checkpoints=0), errors=[], dev='new')
    assert 'the best so far' not in caplog.text


def test_a_checkpoint_that_was_cut_off_does_not_count(tmp_path):
    train(tmp_path)
    folder = tmp_path / 'checkpoints'
    (folder / 'model-99.index').write_bytes(b'')
    (folder / 'model-99.data-00000-of-00001').write_bytes(b'half')
    checkpoints = Checkpoints(str(tmp_path))
    assert checkpoints.steps()[-1] == 12
    checkpoints.clean()
    assert not list(folder.glob('model-99*'))


def snapshot(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*')}


FOREIGN = ['model-12-keep.index', 'model-12.keep', 'model-4.json.bak', 'model-mine/weights', 'model-99.txt']
FOREIGN += ['model-99.index/of a directory', 'best-model-4.json', '.model-99.notes.tmp', 'average-old.index']
LEFT = ['model-98.data-00000-of-00001', 'model-97.index.tempstate123', 'average-96.data-00000-of-00001']
LEFT += ['.model-12.json.77.tmp', '.model-12.json.0123456789abcdef.77.tmp', 'model-12.data-00000-of-00001.tempstate9']


def test_only_names_that_a_run_writes_are_removed_and_said(tmp_path, caplog):
    train(tmp_path)
    folder = tmp_path / 'checkpoints'
    for name in (*FOREIGN, *LEFT):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('a')
    (tmp_path / 'elsewhere').write_text('a')
    (folder / 'model-95.index').symlink_to(tmp_path / 'elsewhere')
    with caplog.at_level('INFO'):
        train(tmp_path, config=replace(epochs=6, keep_checkpoints=1, average_checkpoints=0))
    assert Checkpoints(str(tmp_path)).steps() == [4, 24]
    assert {*FOREIGN, 'model-95.index'} <= snapshot(folder)
    assert not {*LEFT} & snapshot(folder)
    assert all(f'{folder}/{name}: removed' in caplog.text for name in LEFT)


def test_nothing_is_removed_from_a_linked_directory_but_what_the_run_wrote_there(tmp_path):
    theirs, run = tmp_path / 'theirs', tmp_path / 'run'
    train(theirs)
    (theirs / 'checkpoints' / 'model-99.index').write_text('a')
    before = snapshot(theirs / 'checkpoints')
    run.mkdir()
    (run / 'checkpoints').symlink_to(theirs / 'checkpoints')
    train(run, config=replace(epochs=6, keep_checkpoints=1, average_checkpoints=2))
    assert before <= snapshot(run / 'checkpoints')
    assert Checkpoints(str(run)).steps() == [4, 8, 12, 20, 24]


def test_a_best_checkpoint_outside_the_run_is_refused(tmp_path):
    train(tmp_path)
    path = tmp_path / 'checkpoints' / 'best.json'
    path.write_text('{"name": "../../other/checkpoints/model-4", "error": 0.1, "dev_loss": 1.0}')
    with pytest.raises(DataError, match='best.json: not the name of a checkpoint and its scores'):
        Checkpoints(str(tmp_path)).resolve('best')


DATA, INDEX, STATE = (f'model-12.{end}' for end in ('data-00000-of-00001', 'index', 'json'))


@pytest.mark.parametrize(('name', 'size'), [(DATA, 3), (DATA, None), (INDEX, 90), (STATE, 40)])
def test_a_damaged_newest_checkpoint_makes_way_for_the_one_before(tmp_path, caplog, name, size):
    whole, damaged = tmp_path / 'whole', tmp_path / 'damaged'
    train(whole)
    train(damaged)
    path = damaged / 'checkpoints' / name
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    assert train(damaged) == 0
    assert 'kept as damaged-model-12.*, resuming from model-8' in caplog.text
    assert len([line for line in caplog.text.splitlines() if 'damaged' in line]) == 1
    assert weights(whole)['w'] == weights(damaged)['w']
    kept = {f'damaged-{part}' for part in (DATA, INDEX, STATE)} - {f'damaged-{name}' if size is None else ''}
    assert kept <= snapshot(damaged / 'checkpoints')


def test_without_a_sound_checkpoint_the_error_names_the_newest_and_nothing_is_moved(tmp_path):
    train(tmp_path, config=replace(epochs=2))
    folder = tmp_path / 'checkpoints'
    (folder / 'model-4.json').write_text('{"step": 4, "epoch": "three"}')
    os.truncate(folder / 'model-8.data-00000-of-00001', 3)
    before = snapshot(folder)
    with pytest.raises(DataError, match='model-8: damaged .*; there is no other to resume from') as error:
        train(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert snapshot(folder) == before


def test_variables_that_do_not_fit_are_one_line(tmp_path):
    train(tmp_path, config=replace(epochs=1, optimizer='sgd'))
    with pytest.raises(DataError, match='model-4: holds other variables than this model with these options; leave -o'):
        train(tmp_path, config=replace(epochs=2, optimizer='adam'))


def test_a_run_directory_that_was_moved_is_noticed_at_the_next_save(tmp_path):
    run = tmp_path / 'run'
    steps = itertools.count(0)
    move = lambda: run.rename(tmp_path / 'moved') if next(steps) == 6 else None  # noqa: E731
    with pytest.raises(DataError, match='run: renamed or removed while'), lock_run(str(run)) as check:
        Trainer(make_task(on_step=move), CONFIG, local_runtime(), str(run), check_run_dir=check).run()
    assert not run.exists()
    assert Checkpoints(str(tmp_path / 'moved')).steps() == [4]


def test_a_loss_that_leaves_a_variable_out_is_a_programming_error(tmp_path):
    task = make_task()

    def loss_fn(batch, step, seed):
        tf.get_variable('unused', initializer=0.0)
        return task.loss_fn(batch, step, seed)

    with pytest.raises(ValueError, match='does not depend on unused'):
        Trainer(task._replace(loss_fn=loss_fn), CONFIG, local_runtime(), str(tmp_path))
