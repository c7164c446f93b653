"""Extraction in parallel processes ends soon, with one line, when a worker is killed or the user interrupts it."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from tests.processes import ROOT
from utils.data.extraction import Task, extract_all
from utils.data.features import FeatureSpec
from utils.errors import DataError


def make_tasks(folder, count):
    audio_path = str(folder / 'a.wav')
    soundfile.write(audio_path, np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 20), 16000)
    return [Task(audio_path, str(folder / 'features' / f'{i}.npz'), [1]) for i in range(count)]


def test_outcomes_are_in_the_order_of_the_tasks(tmp_path):
    tasks = make_tasks(tmp_path, 20)
    tasks[3] = tasks[3]._replace(audio_path=str(tmp_path / 'none.wav'))
    outcomes = extract_all(tasks, len(tasks), FeatureSpec(), 1)
    assert [bool(outcome.kind) for outcome in outcomes] == [i == 3 for i in range(20)]
    assert 'none.wav' in outcomes[3].detail
    assert [outcome.frames for outcome in outcomes if not outcome.kind] == [1999] * 19
    again = extract_all(tasks, len(tasks), FeatureSpec(), 1)
    assert sum(outcome.is_reused for outcome in again) == 19


def test_features_do_not_depend_on_the_number_of_processes(tmp_path):
    tasks = make_tasks(tmp_path, 16)
    both = [[task._replace(npz_path=str(tmp_path / str(jobs) / f'{i}.npz')) for i, task in enumerate(tasks)]
            for jobs in (1, 2)]  # fmt: skip
    for jobs, part in enumerate(both, 1):
        extract_all(part, len(part), FeatureSpec(), jobs)
    for one, other in zip(*both, strict=True):
        with open(one.npz_path, 'rb') as first, open(other.npz_path, 'rb') as second:
            assert first.read() == second.read()


def test_failures_name_the_file_and_suspicions_are_returned(tmp_path):
    tasks = make_tasks(tmp_path, 3)
    names = [str(tmp_path / name) for name in ('short.wav', 'quiet.wav', 'pipe.flac')]
    soundfile.write(names[0], np.ones(100), 16000)
    soundfile.write(names[1], np.zeros(1600), 16000)
    soundfile.write(names[2], np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 8000)
    flac = bytearray((tmp_path / 'pipe.flac').read_bytes())
    flac[22:26] = bytes(4)  # as written to a pipe: no length
    (tmp_path / 'pipe.flac').write_bytes(flac)
    tasks = [task._replace(audio_path=name) for task, name in zip(tasks, names, strict=True)]
    short, quiet, piped = extract_all(tasks, len(tasks), FeatureSpec(), 1)
    assert short.kind == 'audio too short' and names[0] in short.detail
    assert quiet.warnings == ('100% of its samples are exactly 0',)
    assert (piped.frames, piped.duration_secs, piped.warnings) == (99, 1.0, ())


def test_segments_have_features_of_their_own_and_are_made_again_when_they_move(tmp_path):
    (whole,) = make_tasks(tmp_path, 1)
    samples, _ = soundfile.read(whole.audio_path)
    soundfile.write(tmp_path / 'cut.wav', samples[48000:64000], 16000)
    segment = whole._replace(npz_path=str(tmp_path / 'segment.npz'), start_secs=3.0, end_secs=4.0)
    cut = whole._replace(npz_path=str(tmp_path / 'cut.npz'), audio_path=str(tmp_path / 'cut.wav'))
    late = segment._replace(npz_path=str(tmp_path / 'late.npz'), end_secs=20.5)
    outcomes = extract_all([segment, cut, late], 3, FeatureSpec(), 1)
    assert [outcome.frames for outcome in outcomes] == [99, 99, 0]
    assert outcomes[0].duration_secs == 1.0 and 'the file ends at 20.000 s' in outcomes[2].detail
    features = [np.load(task.npz_path)['features'] for task in (segment, cut)]
    np.testing.assert_array_equal(*features)
    moved = segment._replace(start_secs=5.0, end_secs=6.0)
    runs = [extract_all([task], 1, FeatureSpec(), 1)[0].is_reused for task in (segment, moved, moved, segment)]
    assert runs == [True, False, True, False]


def _start(tmp_path):
    """A command that extracts for a long time; returns it when its workers are at work."""
    make_tasks(tmp_path, 1)
    program = (
        'import pathlib, signal, sys\n'
        'from tests.test_extraction import make_tasks\n'
        'from utils.data.extraction import extract_all\n'
        'from utils.data.features import FeatureSpec\n'
        'from utils.errors import run_main\n'
        'if __name__ == "__main__":\n'
        '    signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # shells ignore it in the background
        f'    tasks = make_tasks(pathlib.Path({str(tmp_path)!r}), 100_000)\n'
        '    sys.exit(run_main(lambda: extract_all(tasks, len(tasks), FeatureSpec(), 2) and 0))\n'
    )
    path = tmp_path / 'program.py'
    path.write_text(program)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = subprocess.Popen(
        [sys.executable, str(path)], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / 'features').glob('?*.npz')) and time.monotonic() < deadline:
        time.sleep(0.05)
    return command


def _workers(command):
    listing = ['ps', '-ww', '-o', 'pid=,args=', '--ppid', str(command.pid)]
    found = subprocess.run(listing, capture_output=True, text=True)
    workers = [int(line.split()[0]) for line in found.stdout.splitlines() if 'spawn_main' in line]
    assert workers
    return workers


def test_a_killed_worker_is_one_line(tmp_path):
    command = _start(tmp_path)
    os.kill(_workers(command)[0], signal.SIGKILL)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 1
    assert 'a worker process died (killed, or out of memory?) near ' in errors.splitlines()[-1]
    assert 'Traceback' not in errors


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes_soon(tmp_path, number):
    command = _start(tmp_path)
    workers = _workers(command)
    start = time.monotonic()
    os.killpg(command.pid, number) if number == signal.SIGINT else command.send_signal(number)  # as a terminal does
    _, errors = command.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert command.returncode == 130 and errors.splitlines()[-1] == 'interrupted'
    assert 'Traceback' not in errors
    assert not any(os.path.exists(f'/proc/{worker}') for worker in workers)
    assert not list((tmp_path / 'features').glob('.*'))


def test_one_job_needs_no_process_and_more_say_what_they_lack(tmp_path, monkeypatch):
    def no_shared_memory(*arguments, **options):
        raise FileNotFoundError(2, 'No such file or directory')  # as without /dev/shm

    monkeypatch.setattr('utils.data.extraction.ProcessPoolExecutor', no_shared_memory)
    soundfile.write(tmp_path / 'a.wav', np.zeros(800), 16000)
    task = Task(str(tmp_path / 'a.wav'), str(tmp_path / 'a.npz'), [1])
    assert [outcome.kind for outcome in extract_all([task], 1, FeatureSpec(), 1)] == ['']
    with pytest.raises(DataError, match=r'^/dev/shm: .* \(no such file or directory\); mount it, or give --jobs 1'):
        extract_all([task], 1, FeatureSpec(), 2)


@pytest.mark.parametrize('pause_secs', [0, 0.05, 0.3])
def test_a_second_interrupt_ends_it_at_once(tmp_path, pause_secs):
    command = _start(tmp_path)
    workers = _workers(command)
    for _ in range(2):
        os.killpg(command.pid, signal.SIGINT)
        time.sleep(pause_secs)
    _, errors = command.communicate(timeout=20)
    # the second one may come while the progress bar is closed, which is then drawn once more, after the line, or while
    # the interpreter exits, which no longer catches it: shells report 130 for both
    assert command.returncode in (130, -signal.SIGINT) and errors.count('interrupted\n') == 1
    assert 'Traceback' not in errors
    assert not any(os.path.exists(f'/proc/{worker}') for worker in workers)
