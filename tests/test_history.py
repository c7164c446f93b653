"""Records of a run: what is damaged is left out, and the log says so."""

import json
import re

import pytest

from utils.train.history import History, describe, with_indexes

RECORD = {'epoch': 0, 'step': 4, 'dev_loss': None, 'wer': 0.5}


@pytest.mark.parametrize(
    ('line', 'complaint'),
    [
        ('{"epoch": 1, "st', 'Input data was truncated'),
        ('{"epoch": 1}', "missing required field 'step'"),
        ('{"epoch": 1, "step": "8"}', r"\$\.step': Expected 'int', got 'str'"),
        ('{"epoch": 1, "step": -8}', r"\$\.step': Expected 'int' >= 0"),
        ('{"epoch": 1, "step": 8, "wer": "x"}', "got 'str'"),
        ('[' * 100_000, 'nested too deeply|got .array'),
        ('null', "got 'null'"),
    ],
)
def test_a_damaged_record_is_left_out_and_named(tmp_path, caplog, line, complaint):
    path = tmp_path / 'history.jsonl'
    path.write_text(json.dumps(RECORD) + '\n' + line + '\n' + json.dumps({**RECORD, 'step': 12}))
    assert History(str(tmp_path), 12, 'nats').records == [RECORD, {**RECORD, 'step': 12}]
    (message,) = caplog.messages
    assert message.startswith(f'{path} line 2: not a record (') and message.endswith('it is left out')
    assert re.search(complaint, message)


def test_steps_that_were_lost_are_dropped(tmp_path):
    (tmp_path / 'history.jsonl').write_text(json.dumps(RECORD) + '\n')
    assert History(str(tmp_path), 3, 'nats').records == []


def test_the_line_of_a_record_tells_how_many_utterances_have_no_loss():
    line = describe({'dev_loss': 2.5, 'without_loss': 3, 'wer': 0.5}, True)
    assert line == 'dev loss 2.50, 3 without loss, WER 50.00% (best)'


def test_the_scores_of_each_dev_index_are_numbers_that_are_read_again(tmp_path):
    scores = {'wer': 0.5, 'images': {}, 'indexes': {'a': {'wer': 0.25}, 'b': {'wer': 0.75}}}
    History(str(tmp_path), 4, 'nats').add({'epoch': 0, 'step': 4, **with_indexes(scores)})
    record = {'epoch': 0, 'step': 4, 'wer': 0.5, 'wer/a': 0.25, 'wer/b': 0.75}
    assert History(str(tmp_path), 4, 'nats').records == [record]
