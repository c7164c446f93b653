"""Packed runs: what they hold, what takes them, and files that are refused."""

import dataclasses
import errno
import json
import os
import random
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

import run_test
import run_train
from scripts import pack as pack_command
from scripts import tune_lm
from tests.live_runs import write_live_run
from utils.decode.options import DECODING_NAME, Tuned, find_tuned, lm_id, read_tuned, write_tuned
from utils.errors import DataError, UsageError, run_main
from utils.export.graphs import RunGraph
from utils.lm.ngram import load_model
from utils.pack import archive
from utils.pack.archive import LM_NAMES, PackedRun
from utils.pack.packing import Checkpoint, pack
from utils.pack.weights import encode, read_weights
from utils.recognition.posteriors import find_weights
from utils.recognition.recognizer import StreamingModel, load_recognizer
from utils.run_directory import CONFIG_NAME, Run, read_vocabulary
from utils.train.checkpoint import Checkpoints
from utils.train.transfer import InitialWeights

ARPA = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0\t<unk>
-1.0\t<s>\t-0.3
-0.7\t</s>
-0.5\tone\t-0.2

\\2-grams:
-0.2\t<s> one
-0.4\tone </s>

\\end\\
"""
NUM_MUTATIONS = 300


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run directory with a tuned language model beside it."""
    folder = tmp_path_factory.mktemp('packed')
    run = write_live_run(folder / 'run')
    (folder / 'words.arpa').write_text(ARPA)
    lm = str(folder / 'words.arpa')
    weights = find_weights(run.path, 'best')
    tuned = Tuned(lm, lm_id(lm), 'word', 1.5, 0.5, 30, 'no', 'best', ('dev.json',), 0.25, 0.125, 0.5, 0.25, {}, weights)
    write_tuned(run.path, tuned)
    return run


@pytest.fixture(scope='module')
def values(run):
    return load_recognizer(run).values()


@pytest.fixture(scope='module')
def pack_run(run, values):
    """A function that packs the run beside its directory and returns the path."""

    def write(name, dtype='float32', lm=None, licence='', which='best'):
        path = os.path.join(os.path.dirname(run.path), name)
        pack(run, Checkpoint(which, find_weights(run.path, 'best'), values), path, dtype, lm, licence)
        return path

    return write


@pytest.fixture(scope='module')
def packed(run):
    """The run packed in float32 with its language model, by the command."""
    folder = Path(run.path).parent
    path = str(folder / 'model.zip')
    assert pack_command.main(['-s', run.path, path, '--lm', str(folder / 'words.arpa')]) == 0
    return path


def test_configuration_vocabulary_and_statistics_are_those_of_the_run(run, packed):
    found = Run.open(packed)
    assert found.path == packed and found.config == run.config and found.vocabulary == run.vocabulary
    np.testing.assert_array_equal(found.statistics, run.statistics)
    assert read_vocabulary(packed) == run.vocabulary


def test_float32_gives_the_posteriors_of_the_run_bit_for_bit(run, packed):
    features = np.random.default_rng(0).normal(5, 3, [1, 32, 40]).astype(np.float32)
    models = [StreamingModel(each) for each in (run, Run.open(packed))]
    states = np.zeros([1, models[0].state_size], np.float32)
    start, lengths = np.zeros(1, np.int32), np.array([32], np.int32)
    (one, _), (other, _) = (model.step(features, start, lengths, states) for model in models)
    assert one.size and one.tobytes() == other.tobytes()
    assert models[0].weights == models[1].weights == find_weights(packed, 'best')


def test_float32_gives_the_texts_of_the_run(run, packed):
    features = [np.random.default_rng(seed).normal(5, 3, [80, 40]).astype(np.float32) for seed in range(3)]
    texts = [
        [run.vocabulary.decode(each.ids) for each in load_recognizer(opened).recognize(features, 2)]
        for opened in (run, Run.open(packed))
    ]
    assert texts[0] == texts[1] and all(texts[0])


@pytest.mark.parametrize(('dtype', 'step'), [('float16', 2**-11), ('bfloat16', 2**-8)])
def test_half_precision_rounds_matrices_and_leaves_vectors(dtype, step, pack_run, packed, values):
    path = pack_run(f'{dtype}.zip', dtype)
    found = read_weights(PackedRun.open(path))
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert found[name].dtype == np.float32 and found[name].shape == value.shape
        if value.ndim < 2:
            assert found[name].tobytes() == value.tobytes()
        else:
            np.testing.assert_allclose(found[name], value, rtol=step, atol=2**-25)
            assert (found[name] != value).any()
    assert os.path.getsize(path) < 0.7 * os.path.getsize(packed)
    assert find_weights(path, 'best').endswith(f', {dtype})')
    restored = load_recognizer(Run.open(path)).values()
    assert all(restored[name].tobytes() == value.tobytes() for name, value in found.items())


def test_a_value_beyond_float16_is_refused_with_the_type_that_holds_it():
    with pytest.raises(DataError, match='output/kernel has values .* give --dtype bfloat16'):
        encode({'output/kernel': np.full([1, 2], 1e5, np.float32)}, 'float16')
    assert encode({'moving_variance': np.full([2], 1e5, np.float32)}, 'float16')


def test_language_model_in_it_is_the_one_that_was_packed(run, packed):
    lm = os.path.join(os.path.dirname(run.path), 'words.arpa')
    expected, found = load_model(lm, use_cache=False), load_model(packed, use_cache=False)
    np.testing.assert_array_equal(found.log_probs(['one', 'two']), expected.log_probs(['one', 'two']))
    assert lm_id(packed) == lm_id(lm)
    assert find_tuned(read_tuned(packed), packed).lm_weight == 1.5


def test_weights_of_a_tuned_language_model_are_those_of_the_packed_checkpoint(run, packed, pack_run):
    assert read_tuned(packed) == read_tuned(run.path)
    half = pack_run('tuned.zip', 'float16')
    assert [each.weights for each in read_tuned(half)] == [find_weights(half, 'best')]


def test_a_file_without_language_model_is_none(pack_run):
    with pytest.raises(DataError, match='holds no language model'):
        load_model(pack_run('bare.zip'))


def test_a_new_run_can_begin_with_it(run, packed, values):
    found = InitialWeights.read(packed, 'best')
    assert found.checkpoint == 'model-1' and found.run.config == run.config
    assert found.weights.keys() == {name for name in values if '/' in name}
    assert all(found.weights[name].tobytes() == values[name].tobytes() for name in found.weights)


def test_an_export_has_its_weights(packed, values):
    graph = RunGraph(Run.open(packed), 'best')
    assert graph.checkpoint == 'model-1'
    assert all(graph._values[name].tobytes() == value.tobytes() for name, value in values.items())


def test_it_holds_one_checkpoint(packed, pack_run):
    found = Checkpoints(packed)
    assert found.resolve('best') == found.resolve('model-1') == 'model-1'
    with pytest.raises(DataError, match=r'holds the checkpoint model-1 \(best\) alone, not latest; leave --checkpoint'):
        found.resolve('latest')
    assert Checkpoints(pack_run('named.zip', which='model-1')).resolve('best') == 'model-1'


def test_equal_contents_give_equal_files(pack_run):
    first = Path(pack_run('same.zip')).read_bytes()
    assert first == Path(pack_run('same.zip')).read_bytes()


def test_card_states_model_rates_and_licence(pack_run, values):
    path = pack_run('card.zip', licence='CC BY | 4.0')
    with zipfile.ZipFile(path) as file:
        card = file.read('README.md').decode()
    num_values = sum(value.size for value in values.values())
    assert f'Deep Speech 2, {num_values:,} parameters' in card and '-ub no' in card
    assert r'| licence | CC BY \| 4.0 |' in card and '| checkpoint | model-1 (best) |' in card
    assert 'greedy | not known |' in card and 'amount not known' in card and 'run_predict.py -s card.zip' in card


@pytest.mark.parametrize(
    ('main', 'arguments', 'message'),
    [
        (run_train.main, ['-t', 'a', '-d', 'a'], 'training goes into a run directory; give another -s, and --init'),
        (run_train.main, ['-m', 'dev', '-t', 'a', '-d', 'a'], 'of -m dev goes into a run directory; score it with'),
        (run_test.main, ['-t', 'a'], 'the result goes into a run directory; give --out DIR'),
        (tune_lm.main, ['-d', 'a', '--lm', 'a'], 'the result goes into a run directory; tune the run, then'),
        (pack_command.main, ['b.zip'], 'is a file; name the run directory'),
    ],
)
def test_what_writes_into_a_run_says_where_else(main, arguments, message, packed, capsys):
    before = Path(packed).read_bytes()
    assert run_main(lambda: main(['-s', packed, *arguments])) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert packed in error and message in error
    assert Path(packed).read_bytes() == before


def test_a_file_that_is_no_packed_run_is_neither_read_nor_replaced(run, tmp_path, capsys):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(DataError, match='notes.txt: no packed run'):
        Run.open(str(tmp_path / 'notes.txt'))
    assert run_main(lambda: pack_command.main(['-s', run.path, str(tmp_path / 'notes.txt')])) == 2
    assert (tmp_path / 'notes.txt').read_text() == 'mine'
    assert 'remove it or name another file' in capsys.readouterr().err


def test_a_write_that_fails_leaves_the_old_file(packed, pack_run, monkeypatch):
    before = Path(packed).read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, 'full')

    monkeypatch.setattr(archive.zipfile.ZipFile, 'writestr', fail)
    with pytest.raises(OSError, match='full'):
        pack_run('model.zip')
    assert Path(packed).read_bytes() == before
    assert not [name for name in os.listdir(os.path.dirname(packed)) if name.endswith('.tmp')]


def rewritten(source, target, change):
    """Copies a zip file; `change` maps a list of (entry, content) to another."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for entry, data in change([(entry, old.read(entry)) for entry in old.infolist()]):
            new.writestr(entry, data, entry.compress_type)


def named(name, data=b'x', mode=stat.S_IFREG | 0o644, compress_type=zipfile.ZIP_STORED):
    entry = zipfile.ZipInfo(name)
    entry.external_attr, entry.compress_type = mode << 16, compress_type
    return entry, data


def replaced(name, entry):
    return lambda entries: [entry if old[0].filename == name else old for old in entries]


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda entries: [*entries, named('../evil.py')], r"'\.\./evil\.py' in it"),
        (lambda entries: [*entries, named('/etc/passwd')], "'/etc/passwd' in it"),
        (lambda entries: [*entries, named('weights.pkl')], "'weights.pkl' in it"),
        (lambda entries: [*entries, named('a/', b'')], "'a/' in it"),
        (lambda entries: [*entries, entries[1]], 'there twice'),
        (lambda entries: [*entries, named('lm.arpa.gz')], 'there twice'),
        (replaced('config.json', named('config.json', b'/etc/passwd', stat.S_IFLNK | 0o777)), 'a link'),
        (
            replaced('weights.safetensors', named('weights.safetensors', b'\0' * 10**7, compress_type=8)),
            'weights.safetensors is compressed',
        ),
        (lambda entries: [each for each in entries if each[0].filename != 'vocab.txt'], r'no vocab\.txt in it'),
        (lambda entries: [each for each in entries if each[0].filename not in LM_NAMES], 'lists other files'),
        (replaced('config.json', named('config.json', b'{}')), r'config\.json has another SHA-256'),
        (replaced('README.md', named('README.md', b' ' * (1 << 24) + b' ')), 'README.md of 16777217 bytes, at most'),
        (replaced('manifest.json', named('manifest.json', b'{"format": 2}')), 'manifest of a packed run'),
    ],
)
def test_a_foreign_or_changed_file_is_refused(change, message, packed, tmp_path):
    path = str(tmp_path / 'changed.zip')
    rewritten(packed, path, change)
    with pytest.raises(DataError, match=message) as error:
        Run.open(path)
    assert path in str(error.value) and '\n' not in str(error.value)
    assert os.listdir(tmp_path) == ['changed.zip']


def with_manifest(packed, path, **files):
    """Writes a packed run of other contents whose hashes are right."""
    found = PackedRun.open(packed)
    contents = {name: found.read(name) for name in found.manifest.sha256 if name not in LM_NAMES}
    contents |= {name.replace('__', '.'): data for name, data in files.items()}
    archive.write_archive(path, found.manifest, contents, None)
    return str(path)


def test_weights_of_another_model_are_refused(packed, values, tmp_path):
    smaller = {name: value for name, value in values.items() if name != 'output/bias'}
    other = {**values, 'output/bias': np.zeros(7, np.float32)}
    for weights, message in ((smaller, "'output/bias' is missing"), (other, r"'output/bias' is \[7\], the model has")):
        path = with_manifest(packed, tmp_path / 'other.zip', weights__safetensors=encode(weights, 'float32'))
        with pytest.raises(DataError, match=message):
            load_recognizer(Run.open(path))


def test_weights_that_are_not_finite_or_no_safetensors_are_refused(packed, values, tmp_path):
    data = bytearray(encode(values, 'float32'))
    data[-4:] = np.array(np.nan, '<f4').tobytes()
    for weights in (bytes(data), b'', data[:100], b'\xff' * 64):
        path = with_manifest(packed, tmp_path / 'bad.zip', weights__safetensors=bytes(weights))
        with pytest.raises(DataError, match='weights.safetensors is damaged'):
            read_weights(PackedRun.open(path))


def test_a_damaged_configuration_names_the_file_within_the_file(packed, tmp_path):
    path = with_manifest(packed, tmp_path / 'bad.zip', config__json=b'{"model": 3}')
    with pytest.raises(DataError, match=r'bad\.zip/config\.json: not a run configuration'):
        Run.open(path)
    path = with_manifest(packed, tmp_path / 'bad.zip', decoding__json=b'[]')
    with pytest.raises(DataError, match=r'bad\.zip/decoding\.json: not what'):
        read_tuned(path)


def test_a_damaged_file_is_equal_or_one_line_that_names_it(packed, values, tmp_path):
    data, path, num_refused = Path(packed).read_bytes(), tmp_path / 'damaged.zip', 0
    for number in range(NUM_MUTATIONS):
        rng = random.Random(number)
        changed = bytearray(data)
        if number % 4 == 0:
            changed = changed[: rng.randrange(len(data))]
        else:  # half of them in the directory at the end, which is small
            first = rng.choice([0, len(data) - 1000])
            for _ in range(rng.randrange(1, 4)):
                changed[rng.randrange(first, len(data))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            found, weights = Run.open(str(path)), read_weights(PackedRun.open(path))
            read_tuned(path)
            with archive.open_lm(path) as file:
                assert file.read() == ARPA.encode()
        except DataError as error:
            num_refused += 1
            assert str(path) in str(error) and '\n' not in str(error), number
        else:
            assert found.config.model.hidden_units == 16, number
            assert all(weights[name].tobytes() == value.tobytes() for name, value in values.items()), number
    assert num_refused > NUM_MUTATIONS / 2


def test_nothing_is_executed_that_a_pickle_could_carry(packed, tmp_path):
    stream = tmp_path / 'statistics.npz'
    np.savez(stream, mean=np.array([os.system], object), std=np.ones(40, np.float32))
    path = with_manifest(packed, tmp_path / 'pickle.zip', feature_statistics__npz=stream.read_bytes())
    with pytest.raises(DataError, match='feature_statistics.npz: cannot be read'):
        Run.open(path)


def test_manifest_is_readable_and_complete(packed):
    with zipfile.ZipFile(packed) as file:
        manifest = json.loads(file.read('manifest.json'))
        assert manifest['sha256'].keys() == {*file.namelist()} - {'manifest.json'}
        assert {CONFIG_NAME, DECODING_NAME, 'lm.arpa'} <= manifest['sha256'].keys()
    assert dataclasses.asdict(PackedRun.open(packed).manifest) == manifest


def test_usage_errors_come_before_the_model_is_loaded(run, tmp_path):
    for arguments, message in (
        ([str(tmp_path)], 'is a directory; name the file'),
        ([str(tmp_path / 'm.zip'), '--lm', 'none.arpa'], '--lm none.arpa: no such file'),
    ):
        with pytest.raises(UsageError, match=message):
            pack_command.main(['-s', run.path, *arguments])
