"""The table on GPUs, with stand-ins for the card, the trials and the steps."""

import sys

import pytest

from utils.errors import DataError
from utils.gpu import report
from utils.gpu.devices import LIBRARIES, Gpu
from utils.gpu.peer import Peer
from utils.gpu.steps import Case
from utils.gpu.trial import Trial

TINY = Case({'model': 'ds2', 'conv_layers': 1, 'rnn_layers': 1, 'hidden_units': 4, 'activation': 'tanh'}, 2, 24, 3)


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(report, 'gpus', lambda: [Gpu('NVIDIA H100', (9, 0))])
    monkeypatch.setattr(report, 'library_states', lambda: dict.fromkeys(LIBRARIES, 'library path'))
    monkeypatch.setattr(report, 'uses_tf32', lambda: True)
    monkeypatch.setattr(report, 'run_trial', lambda build, config: Trial(1e-4, 'output', ''))
    monkeypatch.setattr(report, 'time_step', lambda case, form, seconds: f'{seconds:g} s of {form}')
    monkeypatch.setattr(report, 'torch_times', lambda seconds, device: [])


def lines_of(seconds=2.0):
    lines = []
    return report.report(seconds, lines.append), '\n'.join(lines)


def test_a_sound_card_has_a_row_for_each_trial_and_each_step(card):
    status, text = lines_of()
    assert status == 0
    assert '| GPU 0 | NVIDIA H100, compute capability 9.0 |' in text
    assert '| float32 products | TensorFloat-32, 11 bits |' in text
    assert text.count('| equal within 1.0e-04 (output) |') == 6
    assert '| step A: ds2, 16 × 600 frames, 5 × 512, cudnn | 2 s of cudnn |' in text
    assert '| step default model, -b 32: ds2, 32 × 1200 frames, 7 × 1024, loop | 2 s of loop |' in text
    assert 'default model, -b 32: ds2, 32 × 1200 frames, 7 × 1024, cudnn' not in text  # cuDNN has no clipped ReLU
    assert all(line.startswith('|') for line in text.splitlines())


def test_pytorch_is_timed_on_the_card_before_tensorflow_takes_its_memory(card, monkeypatch):
    monkeypatch.setattr(report, 'torch_times', lambda seconds, device: [('step A: PyTorch', f'on {device}')])
    text = lines_of()[1]
    assert text.index('| step A: PyTorch | on cuda |') < text.index('| trial of gru')


class Script:
    """Stands for the process of a script; its second step fails."""

    def __init__(self, *_):
        self.steps = 0

    def step(self):
        self.steps += 1
        if self.steps > 1:
            raise DataError('torch_step fails (out of memory)')
        return 0.5

    def close(self):
        self.steps = -1


def test_pytorch_that_is_missing_or_fails_is_a_row(monkeypatch):
    monkeypatch.setattr(report.importlib.util, 'find_spec', lambda name: None)
    assert [row[0] for row in report.torch_times(0, 'cpu')] == ['PyTorch']
    monkeypatch.setattr(report.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setattr(report, 'Peer', Script)
    rows = list(report.torch_times(0, 'cpu'))
    assert rows[0] == ('step A: ds2, 16 × 600 frames, 5 × 512, PyTorch', 'FAULT: torch_step fails (out of memory)')
    monkeypatch.setattr(Script, 'step', lambda self: 0.5)
    assert [row[1] for row in report.torch_times(0, 'cpu')] == ['500.0 ms'] * 3


def test_a_script_that_fails_gives_the_end_of_its_messages():
    peer = Peer(sys.executable, 'torch_step.py', TINY._replace(model_fields={'model': 'ds1'}))  # has no such model
    with pytest.raises(DataError, match=r'^torch_step fails \(ModuleNotFoundError: No module named .*\)$'):
        peer.step()
    peer.close()


def test_the_processor_is_timed_without_a_gpu(monkeypatch):
    monkeypatch.setattr(report, 'CASES', {'A': TINY})
    monkeypatch.setattr(report, 'torch_times', lambda seconds, device: [('PyTorch', device)])
    monkeypatch.setattr(report, 'time_step', lambda case, form, seconds: f'{seconds:g} s of {form}')
    lines = []
    assert report.report(2.0, lines.append, 'cpu') == 0
    assert '| PyTorch | cpu |' in lines and '| step A: ds2, 2 × 24 frames, 1 × 4, loop | 2 s of loop |' in lines
    assert 'trial' not in ''.join(lines) and 'cudnn' not in ''.join(lines)


def test_a_failed_trial_is_named_and_gives_status_1(card, monkeypatch):
    monkeypatch.setattr(report, 'run_trial', lambda build, config: Trial(0.5, 'output', 'differs: output'))
    status, text = lines_of()
    assert status == 1
    assert '| trial of lstm, two directions, batch norm | FAULT: cuDNN differs: output |' in text


def test_without_a_gpu_the_missing_libraries_are_named_and_the_status_is_1(monkeypatch):
    monkeypatch.setattr(report, 'gpus', lambda: [])
    states = {**dict.fromkeys(LIBRARIES, 'library path'), 'libcudnn.so.9': ''}
    monkeypatch.setattr(report, 'library_states', lambda: states)
    monkeypatch.setattr(report.tf.test, 'is_built_with_cuda', lambda: True)
    status, text = lines_of()
    assert status == 1
    assert '| libcudnn.so.9 (cuDNN) | MISSING |' in text and '| GPU | none |' in text
    assert "- libcudnn.so.9 (cuDNN) is missing: pip install 'tensorflow[and-cuda]'" in text
    assert 'trial' not in text and 'step' not in text


def test_a_step_is_timed_and_a_failing_one_is_a_row():
    if report.gpus():
        pytest.skip('the operation does not fail on a GPU')
    assert report.time_step(TINY, 'loop', 0).endswith(' ms, no memory of a GPU')
    fault = report.time_step(TINY, 'cudnn', 0)
    assert fault.startswith('FAULT: ') and '\n' not in fault
