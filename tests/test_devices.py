"""GPUs and CUDA libraries, with stand-ins for both."""

import logging

import pytest

from utils.gpu import devices
from utils.gpu.devices import LIBRARIES, Gpu, faults, library_states, log_gpus

ALL = dict.fromkeys(LIBRARIES, 'library path')


def test_libraries_are_found_in_the_library_path_and_in_nvidias_packages(tmp_path):
    (tmp_path / 'cudnn' / 'lib').mkdir(parents=True)
    path = tmp_path / 'cudnn' / 'lib' / 'libcudnn.so.9'
    path.write_text('')
    states = library_states({'libcuda.so.1', str(path)}.__contains__, tmp_path)
    assert states['libcuda.so.1'] == 'library path'
    assert states['libcudnn.so.9'] == str(path)
    assert states['libcublas.so.12'] == ''


def test_each_missing_library_is_named_with_its_remedy():
    found = faults({**ALL, 'libcuda.so.1': '', 'libcudnn.so.9': '', 'libnccl.so.2': ''}, True, 0)
    assert 'libcuda.so.1 (NVIDIA\'s driver) is missing: install NVIDIA' in found[-2]
    assert found[-1] == "libcudnn.so.9 (cuDNN) is missing: pip install 'tensorflow[and-cuda]'"


def test_a_build_without_cuda_is_the_only_reason():
    (found,) = faults(dict.fromkeys(LIBRARIES, ''), False, 0)
    assert 'built without CUDA' in found


def test_a_gpu_that_is_found_needs_no_reason():
    assert faults(dict.fromkeys(LIBRARIES, ''), True, 1) == []


@pytest.mark.parametrize('capability, is_enabled, used', [((9, 0), True, True), ((7, 5), True, False),
                                                          ((9, 0), False, False)])
def test_tensorfloat_32_is_told_of(capability, is_enabled, used, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(devices, 'gpus', lambda: [Gpu('NVIDIA H100', capability)])
    experimental = devices.tf.config.experimental
    monkeypatch.setattr(experimental, 'tensor_float_32_execution_enabled', lambda: is_enabled)
    assert devices.uses_tf32() == used
    log_gpus()
    assert caplog.messages[0] == f'GPU 0: NVIDIA H100, compute capability {capability[0]}.{capability[1]}'
    assert ('TensorFloat-32' in caplog.messages[1]) == used


def test_without_a_gpu_nothing_is_logged(caplog):
    caplog.set_level(logging.INFO)
    log_gpus()
    assert not caplog.messages or devices.gpus()
