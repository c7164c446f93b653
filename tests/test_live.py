"""Live transcription: audio from pipes, what a terminal shows, and the command itself."""

import fcntl
import io
import os
import signal
import subprocess
import sys
import termios
import threading
import time

import numpy as np
import pytest
import soundfile

import run_predict
from tests.live_runs import write_live_run
from tests.processes import ROOT
from utils.audio.pcm import read_pcm
from utils.errors import DataError, UsageError
from utils.recognition.live import Screen, last_columns
from utils.recognition.streaming import Utterance

SAMPLES = (3000 * np.random.default_rng(1).standard_normal(16000)).astype('<i2')


def reader(data, most=7):
    """A pipe that gives at most so many bytes at once."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, most))


def read_all(data, rate=16000):
    rate, blocks = read_pcm(reader(data), 'pipe', rate)
    return rate, np.concatenate(list(blocks))


def wav(samples, rate=16000, **settings):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format='WAV', **settings)
    return buffer.getvalue()


def test_raw_samples_are_scaled_as_a_file_is():
    rate, found = read_all(SAMPLES.tobytes(), 8000)
    assert rate == 8000
    np.testing.assert_array_equal(found, SAMPLES / np.float32(32768))


@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_32', 'FLOAT'])
def test_a_wav_has_its_own_rate_and_its_channels_are_averaged(subtype):
    two = np.stack([SAMPLES, SAMPLES[::-1]], 1) / 32768
    rate, found = read_all(wav(two, 22050, subtype=subtype))
    assert rate == 22050
    np.testing.assert_allclose(found, two.mean(1), atol=1e-6)


@pytest.mark.parametrize('size', [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_goes_on_to_its_end(size):
    data = bytearray(wav(SAMPLES))
    data[40:44] = size.to_bytes(4, 'little')
    np.testing.assert_array_equal(read_all(bytes(data))[1], SAMPLES / np.float32(32768))


def test_what_follows_the_samples_of_a_wav_is_no_sound():
    assert len(read_all(wav(SAMPLES) + b'LIST\x04\x00\x00\x00abcd')[1]) == len(SAMPLES)


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', 'empty'),
        (wav(SAMPLES)[:30], 'damaged WAV header'),
        (b'RIFF' + bytes(60), 'damaged WAV header'),
        (wav(SAMPLES, subtype='PCM_24'), '24 bits'),
        (b'fLaC' + bytes(60), 'FLAC'),
        (SAMPLES.tobytes() + b'x', 'within a sample'),
        (wav(SAMPLES)[:-2], 'cut short'),
        (wav(SAMPLES[:0]), 'no audio'),
    ],
)
def test_damage_is_one_line_that_names_the_pipe(data, words):
    with pytest.raises(DataError, match=words) as caught:
        read_all(data)
    assert str(caught.value).startswith('pipe: ') and '\n' not in str(caught.value)


def test_wide_characters_take_two_columns():
    assert last_columns('hello', 3) == 'llo'
    assert last_columns('你好吗', 5) == '好吗'
    assert last_columns('hi', 5) == 'hi'


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_text_so_far_is_rewritten_on_the_terminal_and_final_texts_are_lines(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '20')
    terminal = Terminal()
    screen = Screen(False, terminal)
    screen.show([Utterance(False, 'he', 0, 1, 1, ())])
    screen.show([Utterance(True, 'hello', 0, 1, 1, ()), Utterance(False, 'y', 0, 1, 1, ())])
    assert terminal.getvalue() == '\rhe\x1b[K\r\x1b[K\ry\x1b[K'
    assert capsys.readouterr().out == 'hello\n'


@pytest.mark.parametrize(
    'flags',
    [
        '--stream - -b 2', '--stream - --longest 9', '--stream - a.wav', 'a.wav --endpoint_ms 9',
        'a.wav --stream_rate 8000', '',
    ],
)  # fmt: skip
def test_flags_that_cannot_work_together_are_usage_errors(flags):
    with pytest.raises(UsageError):
        run_predict.main(['-s', 'run', *flags.split()])


@pytest.fixture(scope='module')
def run_dir(tmp_path_factory):
    return write_live_run(tmp_path_factory.mktemp('live') / 'run', activation='tanh').path


@pytest.mark.parametrize(('settings', 'what'), [({'bidirectional': True}, 'both directions')])
def test_a_model_of_both_directions_is_refused(settings, what, tmp_path):
    write_live_run(tmp_path / 'run', **settings)
    with pytest.raises(UsageError, match=f'{what}.*-ub no'):
        run_predict.main(['-s', str(tmp_path / 'run'), '--stream', '-'])


def start(run_dir, *flags):
    line = [sys.executable, ROOT / 'run_predict.py', '-s', run_dir, '--stream', '-', *flags]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_pipe_gives_the_text_of_the_file(run_dir, tmp_path, capsys):
    path = tmp_path / 'a.wav'
    path.write_bytes(wav(SAMPLES))
    assert run_predict.main(['-s', run_dir, str(path)]) == 0
    expected = capsys.readouterr().out
    out, err = (process := start(run_dir)).communicate(SAMPLES.tobytes())
    assert (process.returncode, out.decode(), err) == (0, expected, b'')
    assert expected.strip()


def test_ctrl_c_ends_with_the_last_final_text_and_status_0(run_dir, tmp_path, capsys):
    path = tmp_path / 'pipe'
    os.mkfifo(path)

    def write_and_interrupt():
        with open(path, 'wb') as pipe:
            pipe.write(SAMPLES.tobytes())
            pipe.flush()
            while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):  # until all has been read
                time.sleep(0.01)
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait()

    ended, writer = threading.Event(), threading.Thread(target=write_and_interrupt)
    writer.start()
    try:
        assert run_predict.main(['-s', run_dir, '--stream', str(path)]) == 0
    finally:
        ended.set()
        writer.join()
    assert capsys.readouterr().out.strip()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
