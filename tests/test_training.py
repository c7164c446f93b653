"""The join of data and model: what of an index is trained on, and what is said of the rest."""

import numpy as np
import pytest

from models.config import ModelConfig
from models.las_inference import symbol_limits
from tests.indexes import make_index
from utils.config import TrainConfig
from utils.data.statistics import FeatureStatistics
from utils.data.vocabulary import Vocabulary
from utils.run_directory import Run, RunConfig
from utils.training import _usable


@pytest.mark.parametrize(('ctc_weight', 'notes'), [(0.5, ['1 of 2 transcripts have too many symbols']), (0.0, [])])
def test_transcripts_that_the_ctc_head_of_las_cannot_learn_are_counted(tmp_path, caplog, ctc_weight, notes):
    index = make_index(tmp_path, [(16, 'abcde'), (16, 'abcd')])  # the head has a frame for every 4
    config = RunConfig(ModelConfig(model='las', ctc_weight=ctc_weight), TrainConfig(), 'mfcc-13-0.02-0.02')
    run = Run(str(tmp_path), config, Vocabulary.english(), FeatureStatistics(np.zeros(13), np.ones(13)))
    assert len(_usable(index, run)) == 2
    assert [record.message[: len(note)] for record, note in zip(caplog.records, notes, strict=True)] == notes


@pytest.mark.parametrize('secs_per_frame', [0.08, 0.16, 0.04, 0.24])
def test_las_may_write_25_symbols_a_second_whatever_the_step_of_its_frames(secs_per_frame):
    frames = round(12 / secs_per_frame)
    assert symbol_limits(frames, secs_per_frame) >= 25 * 12
    assert symbol_limits(100, 0.08) == 210
