"""Inspection of indexes: amounts, outliers, repetitions, silence, damage, and overlap between two."""

import json

import numpy as np
import pytest
import soundfile

from tests.processes import command
from utils.data.index import read_index
from utils.data.inspection import Finding, finding_lines, inspect, overlap, robust_z, summary, suspicious_recordings
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError


def write_index(folder, utterances, name='train.json', featlen=40):
    """Writes (text, seconds, speaker[, features]) as an index; features are random, different in each utterance."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (text, secs, speaker, *given) in enumerate(utterances):
        frames = round(100 * secs)
        features = given[0] if given else np.random.default_rng([i, len(name)]).normal(size=(frames, featlen), scale=5)
        key = f'{name[:-5]}/{i}.npz'
        (folder / name[:-5]).mkdir(exist_ok=True)
        np.savez(folder / key, features=np.asarray(features, np.float32), label=np.zeros(1, np.int32))
        entry = {'key': key, 'duration': secs, 'texts': text, 'frames': len(features)}
        lines.append(json.dumps(entry | ({} if speaker is None else {'speaker': speaker})))
    (folder / name).write_text('\n'.join(lines) + '\n')
    return str(folder / name)


def inspect_all(path, vocabulary=None, time_stride=2, **options):
    return inspect(path, vocabulary, time_stride, **options)


def test_amounts_are_those_of_the_index(tmp_path):
    path = write_index(tmp_path, [('abcd', 2.0, 'x'), ('ab', 1.0, 'x'), ('a b', 3.0, None), ('abc', 1.0, 'y')])
    found = inspect_all(path)
    assert found.speaker_secs == {'x': 3.0, 'y': 1.0}
    assert found.rates.tolist() == [2.0, 2.0, 1.0, 3.0]
    assert summary(found) == [
        f'{path}: 4 utterances, 0.002 hours, 2 speakers with 0.0 to 0.1 minutes, fbank-40-0.02-0.01',
        '  seconds           min 1       5 % 1       median 1.5     95 % 2.85    max 3',
        '  symbols           min 2       5 % 2.15    median 3       95 % 3.85    max 4',
        '  symbols a second  min 1       5 % 1.15    median 2       95 % 2.85    max 3',
    ]


def test_the_symbols_are_those_of_the_vocabulary(tmp_path):
    path = write_index(tmp_path, [('ni3 hao3', 2.0, 'x')])
    assert inspect_all(path).symbols.tolist() == [8]
    assert inspect_all(path, Vocabulary(['hao3', 'ni3'])).symbols.tolist() == [2]


def test_a_robust_z_score_is_1_at_one_deviation_and_unmoved_by_an_outlier():
    values = np.random.default_rng(1).normal(7, 3, 10001)
    assert robust_z(np.append(values, 1e9))[:-1].std() == pytest.approx(1, abs=0.03)
    assert robust_z(np.array([4.0, 4.0, 4.0, 9.0])).tolist() == [0, 0, 0, 0]
    assert robust_z(np.zeros(0)).tolist() == []


def test_utterances_that_are_too_fast_and_too_slow_are_named(tmp_path):
    ordinary = [('a' * (20 + i % 5), 2.0, None) for i in range(20)]
    path = write_index(tmp_path, [*ordinary, ('b' * 90, 2.0, None), ('c', 2.0, None)])
    fast, slow = inspect_all(path, time_stride=1, reads_features=False).findings[:2]
    assert fast == Finding(
        'too fast (robust z above 5)', 1, [f'line 21 (20): 45 symbols a second, 2.00 s: "{"b" * 59}…"']
    )
    assert slow == Finding('too slow (robust z below -5)', 1, ['line 22 (21): 0.5 symbols a second, 2.00 s: "c"'])


@pytest.mark.parametrize(('stride', 'unfit'), [(1, 0), (2, 1)])
def test_a_transcript_that_does_not_fit_its_output_frames_is_named(stride, unfit, tmp_path):
    path = write_index(tmp_path, [('aab', 0.06, None), ('abc', 0.06, None)])  # aab needs a blank: 4 frames of 6
    findings = inspect_all(path, time_stride=stride, reads_features=False).findings
    expected = Finding(
        'transcripts that do not fit with a time stride of 2', 1, ['line 1 (0): needs 4 output frames, has 3: "aab"']
    )
    assert findings == [expected] * unfit


def test_empty_transcripts_and_units_outside_the_vocabulary_are_named(tmp_path):
    path = write_index(tmp_path, [(' ', 1.0, None), ('ab', 1.0, None), ('aé?', 1.0, None)])
    findings = inspect_all(path, Vocabulary.english(), reads_features=False).findings
    assert findings == [
        Finding('empty transcripts', 1, ['line 1 (0)']),
        Finding(f'transcripts with units outside {Vocabulary.english().name}', 1, ["line 3 (2): 'é' '?'"]),
    ]


def test_repeated_transcripts_are_counted_without_regard_to_case_and_spaces(tmp_path):
    texts = ['One two', 'three', 'ONE  TWO', 'one two', 'THREE', 'four']
    path = write_index(tmp_path, [(text, 1.0, None) for text in texts])
    (finding,) = inspect_all(path, reads_features=False).findings
    assert finding == Finding('transcripts that occurred before', 3, ['3 times "One two"', '2 times "three"'])


def test_equal_recordings_are_named(tmp_path):
    same = np.random.default_rng(5).normal(size=(100, 40), scale=5)
    path = write_index(tmp_path, [('a', 1.0, None, same), ('b', 1.0, None), ('c', 1.0, None, same)])
    (finding,) = inspect_all(path).findings
    assert finding == Finding('recordings that occurred before (equal features)', 1, ['line 1 (0), line 3 (2)'])


def test_silence_and_steady_noise_are_named(tmp_path):
    rng = np.random.default_rng(2)
    zeros, noise = np.full((100, 40), -36.0), rng.normal(10, 0.2, (100, 40))
    half = np.concatenate([zeros[:60], rng.normal(10, 5, (40, 40))])
    utterances = [('a', 1.0, None, zeros), ('b', 1.0, None, noise), ('c', 1.0, None), ('d', 1.0, None, half)]
    (finding,) = inspect_all(write_index(tmp_path, utterances)).findings
    assert (finding.kind, finding.number) == ('silent, or steady noise', 3)
    assert finding.lines[0] == 'line 1 (0): level varies by 0.0 dB, 100% of the frames repeat the last'
    assert [line.split()[1] for line in finding.lines] == ['1', '2', '4']


def test_the_level_of_mfcc_is_their_first_coefficient(tmp_path):
    steady = np.random.default_rng(3).normal(size=(100, 13), scale=5)
    steady[:, 0] = 12.0
    loud = steady + np.eye(13)[0] * np.linspace(0, 9, 100)[:, None]
    path = write_index(tmp_path, [('a', 1.0, None, steady), ('b', 1.0, None, loud)])
    (finding,) = inspect_all(path).findings
    assert finding.number == 1 and finding.lines[0].startswith('line 1 (0)')


def test_damaged_features_are_named_and_the_others_measured(tmp_path):
    path = write_index(tmp_path, [('a', 1.0, None), ('b', 1.0, None), ('c', 1.0, None, np.full((100, 40), -36.0))])
    (tmp_path / 'train/1.npz').write_bytes(b'PK')
    found = inspect_all(path)
    assert [finding.kind for finding in found.findings] == ['silent, or steady noise', 'features that cannot be read']
    assert found.num_damaged == 1 and 'line 2 (1)' in found.findings[1].lines[0]


def test_recordings_that_are_clipped_or_damaged_are_named(tmp_path):
    tone = 0.5 * np.sin(np.arange(16000) / 5)
    recordings = {'good.wav': tone, 'clipped.wav': np.clip(9 * tone, -1, 1), 'part.wav': np.r_[tone, np.zeros(48000)]}
    for name, samples in recordings.items():
        soundfile.write(tmp_path / name, samples, 16000)
    (tmp_path / 'damaged.wav').write_bytes(b'RIFF')
    path = write_index(tmp_path, [('a', 1.0, 'x')] * 5)
    with open(path) as stream:
        entries = [json.loads(line) for line in stream]
    named = [('good.wav', {}), ('clipped.wav', {}), ('damaged.wav', {}), ('part.wav', {}), ('part.wav', {'end': 1.0})]
    lines = [json.dumps({**entry, 'audio': name, **part}) for entry, (name, part) in zip(entries, named, strict=True)]
    (tmp_path / 'train.json').write_text('\n'.join(lines))
    clipped, damaged = suspicious_recordings(read_index([path]))
    assert clipped.kind == 'suspicious recordings' and clipped.number == 2
    assert clipped.lines[0].startswith('line 2 (1): clipped: ') and clipped.lines[1].startswith('line 4 (3): 75% ')
    assert damaged.number == 1 and 'line 3 (2): ' in damaged.lines[0] and 'damaged.wav' in damaged.lines[0]


def test_an_index_that_names_no_recordings_is_one_line(tmp_path):
    with pytest.raises(DataError, match='train.json: names no recordings; preprocess again'):
        suspicious_recordings(read_index([write_index(tmp_path, [('a', 1.0, 'x')])]))


def test_findings_list_as_many_utterances_as_asked_and_count_all(tmp_path):
    path = write_index(tmp_path, [('', 1.0, None)] * 7 + [('a', 1.0, None)])
    (finding, _) = inspect_all(path, reads_features=False, listed=2).findings
    assert finding_lines([finding]) == ['  empty transcripts: 7', '    line 1 (0)', '    line 2 (1)']


def test_sentences_speakers_and_recordings_of_both_indexes_are_found(tmp_path):
    same = np.random.default_rng(5).normal(size=(100, 40), scale=5)
    train = [('the cat sat down', 1.0, 'x'), ('yes', 1.0, 'y', same), ('no', 1.0, '')]
    dev = [('THE cat  sat down', 1.0, 'z'), ('yes', 1.0, 'y'), ('other', 1.0, '', same)]
    one, other = (
        inspect_all(write_index(tmp_path, part, name)) for part, name in ((train, 'train.json'), (dev, 'dev.json'))
    )
    assert overlap(one, other) == [
        Finding('transcripts that are in both, 1 of them with 4 words or more', 2, ['"THE cat sat down"']),
        Finding('speakers that are in both', 1, ['y']),
        Finding('recordings that are in both (equal features)', 1, ['line 3 (2)']),
    ]
    assert overlap(one, inspect_all(write_index(tmp_path, [('new', 1.0, 'w')], 'test.json'))) == []


def test_the_command_prints_all_indexes_their_overlap_and_draws_a_page(tmp_path):
    train = write_index(tmp_path, [('a b', 1.0, 'x'), ('c', 1.0, 'x')])
    dev = write_index(tmp_path, [('d', 1.0, None)], 'dev.json')
    done = command('scripts/inspect_index.py', train, dev, train, '-o', tmp_path / 'page')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith('  ')] == [
        f'{train}: 2 utterances, 0.001 hours, 1 speakers with 0.0 to 0.0 minutes, fbank-40-0.02-0.01',
        f'{dev}: 1 utterances, 0.000 hours, no speakers named, fbank-40-0.02-0.01',
        f'{train} and {dev}:',
        f'figures: {tmp_path}/page/inspect.png',
    ]
    assert '  nothing in both' in lines
    assert (tmp_path / 'page/inspect.png').read_bytes().startswith(b'\x89PNG')


def test_the_command_ends_with_status_1_where_features_are_damaged(tmp_path):
    path = write_index(tmp_path, [('a', 1.0, None), ('b', 1.0, None)])
    (tmp_path / 'train/1.npz').write_bytes(b'PK')
    done = command('scripts/inspect_index.py', path)
    assert done.returncode == 1
    assert '  features that cannot be read: 1\n' in done.stdout and 'Traceback' not in done.stderr
    assert inspect_all(path, reads_features=False).num_damaged == 0
