"""Manifests: each format is recognised, each fault is one line with its place, and features are those of the corpus."""

import json
import os
import time

import numpy as np
import pytest
import soundfile

import libri_preprocess
from scripts import manifest_preprocess
from tests.processes import ROOT
from utils.data.index import read_index
from utils.data.manifests import read_manifest
from utils.errors import DataError, UsageError, run_main

CORPORA = ROOT.parent / 'shared' / 'corpora'


@pytest.fixture
def folder(tmp_path):
    """A folder with the recordings a.wav, b.wav, clips/c.wav, wavs/d.wav and e.wav, each with another tone."""
    for number, name in enumerate(['a', 'b', 'clips/c', 'wavs/d', 'e']):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tone = 0.5 * np.sin(2 * np.pi * 200 * (number + 1) * np.arange(8000) / 16000)
        soundfile.write(tmp_path / f'{name}.wav', tone, 16000)
    return tmp_path


def read(folder, name, content, **options):
    """Manifest of a file with this content, text or bytes."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_manifest(str(folder / name), **options)


def utterances(manifest, folder):
    """(recording below the folder, text, speaker) of each recording."""
    return [(os.path.relpath(each.audio_path, folder), each.text, each.speaker) for each in manifest.recordings]


def complaints(manifest, folder):
    """Each problem as one text, without the folder."""
    return [' | '.join(each).replace(f'{folder}/', '') for each in manifest.problems]


def texts(one, two):
    return [('a.wav', one, ''), ('b.wav', two, '')]


AB = texts('one two', 'three')
AB_SPOKEN = [('a.wav', 'one two', 's1'), ('b.wav', 'three', 's2')]


@pytest.mark.parametrize(
    ('content', 'description', 'expected'),
    [
        ('wav_filename,wav_filesize,transcript\na.wav,9,one two\nb.wav,9,three\n', "CSV, audio 'wav_filename'", AB),
        ('client_id\tpath\tsentence\ns1\ta.wav\tone two\ns2\tb.wav\tthree', "TSV, audio 'path', text 'sen", AB_SPOKEN),
        ('filename,text,age\na.wav,one two,\nb.wav,three,', "CSV, audio 'filename', text 'text', no speakers", AB),
        ('Path;Text;Speaker\na.wav;one two;s1\nb.wav;three;s2', "CSV with semicolons, audio 'Path'", AB_SPOKEN),
        ('path|text\na.wav|one two\nb.wav|three', 'CSV with bars', AB),
        ('a.wav\tone two\nb.wav\tthree\n', 'plain lines of path, tab, text', AB),
        ('a.wav|one two\nb.wav|three', 'LJSpeech', AB),
        ('d|Dr. No|doctor no\n', 'LJSpeech', [('wavs/d.wav', 'doctor no', '')]),
        ('d|"Yes|\n', 'LJSpeech', [('wavs/d.wav', '"Yes', '')]),
        (
            '{"audio_filepath": "a.wav", "duration": 0.4, "text": "one two", "speaker": 7}\n'
            '{"audio_filepath": "b.wav", "text": "three"}',
            "JSON Lines, audio 'audio_filepath', text 'text', speakers 'speaker';",
            [('a.wav', 'one two', '7'), AB[1]],
        ),
        ('{"file_name": "a.wav", "transcription": "one two"}\n', "audio 'file_name', text 'transcription'", AB[:1]),
        ('path\ttext\nc.wav\tone\n', 'relative to {folder}/clips', [('clips/c.wav', 'one', '')]),
        ('path\ttext\n{folder}/a.wav\tone two\n', 'TSV', AB[:1]),
        ('\ufeffpath,text\r\na.wav,one two\r\n\r\nb.wav,three\r\n', 'CSV', AB),
        ('path,text\ra.wav,one two\rb.wav,three', 'CSV', AB),
        ('path,text\na.wav,"one, ""two"""\nb.wav,"th\nree"\n', 'CSV', texts('one, "two"', 'th ree')),
        ('path\ttext\na.wav\t"one two\nb.wav\t"""three"""\n', 'TSV', texts('"one two', '"three"')),
        ('path,text\na.wav,one two\n'.encode('utf-16'), 'CSV', AB[:1]),
    ],
)  # fmt: skip
def test_formats_are_recognised_and_described(folder, content, description, expected):
    if isinstance(content, str):
        content = content.replace('{folder}', str(folder))
    manifest = read(folder, 'train.txt', content)
    assert description.replace('{folder}', str(folder)) in manifest.description
    assert utterances(manifest, folder) == expected
    assert manifest.problems == []


def test_columns_of_any_name_can_be_given(folder):
    manifest = read(folder, 'x.csv', 'text,Clip,words\nno,a.wav,one two\n', audio_column='clip', text_column='words')
    assert utterances(manifest, folder) == AB[:1]
    manifest = read(folder, 'x.jsonl', '{"sound": "a.wav", "text": "one two"}', audio_column='sound')
    assert utterances(manifest, folder) == AB[:1]


def test_audio_is_relative_to_the_root_that_is_given(folder):
    (folder / 'lists').mkdir()
    content = 'path,text\nc.wav,one\na.wav,two\n'
    manifest = read(folder / 'lists', 'x.csv', content, audio_root=str(folder / 'clips'))
    assert utterances(manifest, folder) == [('clips/c.wav', 'one', '')]
    assert complaints(manifest, folder) == ['audio that is missing | lists/x.csv line 3 | clips/a.wav: no such file']
    with pytest.raises(UsageError, match='--audio_root /none is no directory'):
        read(folder, 'x.csv', content, audio_root='/none')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', r'train\.csv: the file is empty'),
        ('\n \n', r'train\.csv: the file is empty'),
        ('path,words\na.wav,one', r"line 1: none of transcript, .* is among its columns: 'path', 'words'; .*--text_"),
        ('clip,text\na.wav,one', r"line 1: none of wav_.* is among its columns: 'clip', 'text'; .*--audio_column"),
        ('path:text\na.wav:one', r"line 1: none of wav_filename, .* is among its columns: 'path:text'"),
        ('a.wav,one', r"line 1: none of .* is among its columns: 'a.wav', 'one'"),
        ('{"text": "one"}', r'train\.csv: none of wav_filename'),
        ('[{"path": "a.wav", "text": "one"}]', r'line 1: a JSON list, or no manifest; write JSON Lines'),
        (b'RIFF"\x00\x01' + b'x' * 200_000, r'train\.csv: binary data; give a manifest'),
        (b'x"' + b'x' * 200_000, r'line 1: none of wav_filename'),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(folder, content, message):
    with pytest.raises(DataError, match=message):
        read(folder, 'train.csv', content)


def test_a_column_that_is_given_must_exist(folder):
    with pytest.raises(DataError, match=r"line 1: --audio_column clip is not among its columns: 'path', 'text'"):
        read(folder, 'x.csv', 'path,text\na.wav,one', audio_column='clip')


HEADER = 'path,text,speaker\n'
GOOD = 'b.wav,three,s2\n'


@pytest.mark.parametrize(
    ('line', 'kind', 'detail'),
    [
        ('a.wav,one, two,s1', 'line that cannot be read', 'number of fields: 4, in the header 3; check'),
        ('a.wav;one two;s1', 'line that cannot be read', 'number of fields: 1, in the header 3'),
        ('a.wav,"one,s1', 'line that cannot be read', 'its quotes do not fit ('),
        ('a.wav,"one" two,s1', 'line that cannot be read', 'its quotes do not fit ('),
        ('a.wav,,s1', 'empty text', 'a.wav'),
        ('a.wav,"  ",s1', 'empty text', 'a.wav'),
        (',one,s1', 'line that cannot be read', 'no audio path in it'),
        ('none.wav,one,s1', 'audio that is missing', 'none.wav: no such file'),
        ('/none/a.wav,one,s1', 'audio that is missing', '/none/a.wav: no such file'),
        ('clips,one,s1', 'audio that is missing', 'clips: not a regular file'),
        ('pipe,one,s1', 'audio that is missing', 'pipe: not a regular file'),
        ('a\x07.wav,one,s1', 'line that cannot be read', "control characters in 'a\\x07.wav'"),
        (b'a.wav,caf\xe9,s1', 'line that cannot be read', 'not UTF-8; save it as UTF-8'),
    ],
)
def test_a_bad_line_of_a_table_is_named_and_the_rest_is_read(folder, line, kind, detail):
    os.mkfifo(folder / 'pipe')
    line = line if isinstance(line, bytes) else line.encode()
    manifest = read(folder, 'x.csv', HEADER.encode() + line + b'\n' + GOOD.encode())
    (problem,) = complaints(manifest, folder)
    assert problem.startswith(f'{kind} | x.csv line 2 | {detail}')
    assert utterances(manifest, folder) == AB_SPOKEN[1:]


@pytest.mark.parametrize(
    ('line', 'kind', 'detail'),
    [
        ('{"path": "a.wav", "text": "one"', 'line that cannot be read', 'not an utterance ('),
        ('{"path": "a.wav"}', 'empty text', 'a.wav'),
        ('{"path": null, "text": "one"}', 'line that cannot be read', 'no audio path in it'),
        ('{"path": {"path": 1}, "text": "one"}', 'line that cannot be read', 'path is no text'),
        ('{"path": "a.wav", "text": 1}', 'line that cannot be read', 'text is no text'),
        ('{"path": "a.wav", "text": "one", "offset": NaN}', 'line that cannot be read', 'not an utterance ('),
        ('{"path": "a.wav", "text": "one", "offset": -1}', 'segment without valid times', 'from -1 s to the end'),
        ('{"path": "a.wav", "text": "one", "offset": "NaN"}', 'segment without valid times', 'from nan s'),
        ('{"path": "a.wav", "text": "t", "offset": 1, "duration": 0}', 'segment without valid times', 'from 1 s to 1'),
        ('{"path": "a.wav", "text": "t", "offset": "x", "duration": 1}', 'segment without valid times', 'x, 1: not n'),
    ],
)
def test_a_bad_line_of_json_is_named_and_the_rest_is_read(folder, line, kind, detail):
    good = '{"path": "b.wav", "text": "three", "offset": 0.1, "duration": 0.2}'
    manifest = read(folder, 'x.jsonl', f'{line}\n{good}\n')
    (problem,) = complaints(manifest, folder)
    assert problem.startswith(f'{kind} | x.jsonl line 1 | {detail}')
    assert ('NaN and Infinity are no JSON' in problem) == (': NaN' in line)
    (recording,) = manifest.recordings
    assert (recording.start_secs, recording.end_secs) == (0.1, 0.1 + 0.2)


def test_a_quote_that_is_never_closed_costs_one_line(folder):
    lines = [f'e.wav,x "{number},\n' for number in range(200)]  # quotes within a field
    manifest = read(folder, 'x.csv', HEADER + 'a.wav,"one,s1\n' + GOOD + ''.join(lines))
    assert [each.split(' | ')[1] for each in complaints(manifest, folder)][:1] == ['x.csv line 2']
    assert utterances(manifest, folder)[0] == AB_SPOKEN[1]


def test_duplicates_are_named_with_the_first_of_them(folder):
    manifest = read(folder, 'x.csv', HEADER + 'a.wav,one two,s1\na.wav,one two,s1\n./a.wav,other,s1\n' + GOOD)
    assert complaints(manifest, folder) == [
        'duplicate utterance | x.csv line 3 | a.wav has the same text on x.csv line 2',
        'duplicate utterance | x.csv line 4 | ./a.wav has another text on x.csv line 2',
    ]
    assert utterances(manifest, folder) == AB_SPOKEN


def test_segments_of_one_recording_have_names_of_their_own(folder):
    lines = [{'audio_filepath': 'a.wav', 'text': 'x', 'offset': 0.1 * each, 'duration': 0.1} for each in range(3)]
    lines += [{'audio_filepath': 'b.wav', 'text': 'y'}, {'audio_filepath': 'e.wav', 'text': 'z', 'offset': 0.3}]
    manifest = read(folder, 'x.jsonl', '\n'.join(map(json.dumps, lines)))
    assert "segments 'offset' and 'duration'" in manifest.description
    names = ['a-0000000-0000100', 'a-0000100-0000200', 'a-0000200-0000300', 'b-0000000-end', 'e-0000300-end']
    assert [each.utterance_id for each in manifest.recordings] == names
    assert [each.start_secs for each in manifest.recordings] == [0, 0.1, 0.2, 0, 0.3]
    assert manifest.recordings[3].end_secs is None


def test_feature_files_are_unique_and_stay_below_their_directory(folder):
    outside = folder.parent / f'{folder.name}-outside'
    for path in ('x/1.wav', 'y/1.wav', 'y/1.flac', 'y-1.wav', f'{"n" * 200}.wav', f'../{outside.name}/1.wav'):
        (folder / path).parent.mkdir(exist_ok=True)
        soundfile.write(folder / path, np.zeros(100), 16000)
    paths = ['x/1.wav', 'y/1.wav', 'y/1.flac', 'x/../y-1.wav', f'{"n" * 200}.wav', f'../{outside.name}/1.wav']
    manifest = read(folder, 'x.csv', 'path,text\n' + ''.join(f'{path},t\n' for path in [*paths, folder / 'a.wav']))
    assert manifest.problems == []
    relative = [each.relative_path for each in manifest.recordings]
    assert len({os.path.basename(path) for path in relative}) == len(set(relative)) == 7
    assert [os.path.basename(path) for path in relative[:4]] == ['x-1', 'y-1', 'y-1-2', 'y-1-3']
    for path in relative:
        assert os.path.normpath(path) == path and not path.startswith(('/', '..'))
        assert max(map(len, path.split('/'))) < 220
    other = read(outside, 'x.csv', 'path,text\n1.wav,t\n')
    assert other.recordings[0].relative_path.split('/')[0] != relative[0].split('/')[0]


def kaldi(folder, **files):
    (folder / 'data').mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / 'data' / name.replace('wav_scp', 'wav.scp')).write_text(content)
    return read_manifest(str(folder / 'data'))


def test_kaldi_directory_is_relative_to_itself_or_its_parent(folder):
    files = {'wav_scp': 'u1 a.wav\nu2\tb.wav\n', 'text': 'u2 three\nu1 one  two\n', 'utt2spk': 'u1 s1\nu2 s2\n'}
    manifest = kaldi(folder, **files)
    assert utterances(manifest, folder) == AB_SPOKEN and manifest.problems == []
    assert manifest.description.endswith(
        f'data: Kaldi data directory: wav.scp, text, utt2spk; audio paths are relative to {folder}'
    )
    assert [each.utterance_id for each in manifest.recordings] == ['u1', 'u2']
    for file in ('wav.scp', 'text'):
        assert read_manifest(str(folder / 'data' / file)).recordings == manifest.recordings
    with pytest.raises(UsageError, match='--text_column t: .* is a Kaldi data directory'):
        read_manifest(str(folder / 'data'), text_column='t')


def test_kaldi_segments_are_parts_of_recordings(folder):
    segments = 'u1 r 0.1 0.2\nu2 r 0.2 -1\nu3 r 0.3\nu4 q 0 1\nu5 r nan 1\nu6 r 0.1 0.2 1\nu7 r 0.4 0.3\n'
    text = ''.join(f'u{number} t\n' for number in range(1, 9))
    manifest = kaldi(folder, wav_scp='r a.wav\n', text=text, segments=segments)
    assert [(each.utterance_id, each.start_secs, each.end_secs) for each in manifest.recordings] == [
        ('u1', 0.1, 0.2), ('u2', 0.2, None),
    ]  # fmt: skip
    found = complaints(manifest, folder)
    for complaint in (
        'line that cannot be read | data/segments line 3 | "u3 r 0.3" is not UTTERANCE RECORDING START END',
        'segment without a recording | data/segments line 4 (u4) | q is not in wav.scp',
        'line that cannot be read | data/segments line 6 | channel 1; only whole recordings are read, mixed',
        'transcript without audio | data/text line 8 (u8) | ',
        'segment without valid times | data/segments line 5 (u5) | from nan s to 1 s',
        'segment without valid times | data/segments line 7 (u7) | from 0.4 s to 0.3 s',
    ):
        found.remove(complaint)
    assert found == []


def test_kaldi_commands_are_refused_and_never_run(folder):
    scp = f'u1 touch {folder}/ran; cat {folder}/a.wav |\nu2 b.wav\nu3 e.wav\nu4 none.wav\nu2 a.wav\n'
    manifest = kaldi(folder, wav_scp=scp, text='u1 one\nu2 three\nu4 x\nu5 y\nu6\n')
    assert not (folder / 'ran').exists()
    assert utterances(manifest, folder) == AB[1:]
    found = complaints(manifest, folder)
    assert len(found) == 6
    assert found[0] == 'duplicate id | data/wav.scp line 5 | u2 is the name of data/wav.scp line 2 too'
    assert found[1].startswith('wav.scp line that is a command | data/wav.scp line 1 (u1) | touch ')
    assert found[1].endswith('commands are never run; write its output to a file and name that')
    assert found[2] == 'audio without a transcript | data/wav.scp line 3 (u3) | '
    assert found[3:5] == [f'transcript without audio | data/text line {each} (u{each + 1}) | ' for each in (4, 5)]
    assert found[5] == 'audio that is missing | data/wav.scp line 4 (u4) | none.wav: no such file'


def test_a_directory_that_is_no_kaldi_directory_is_refused(folder):
    with pytest.raises(DataError, match='a directory without wav.scp; give a manifest file or a Kaldi data directory'):
        read_manifest(str(folder))
    (folder / 'metadata.csv').write_text('d|x|y')
    with pytest.raises(DataError, match=r'without wav.scp; give .*/metadata\.csv'):
        read_manifest(str(folder))
    (folder / 'wav.scp').write_text('u a.wav')
    with pytest.raises(DataError, match='no text in it; a Kaldi data directory has wav.scp and text'):
        read_manifest(str(folder))
    os.mkfifo(folder / 'fifo')
    with pytest.raises(DataError, match='fifo: not a regular file; give a manifest'):
        read_manifest(str(folder / 'fifo'))


def test_a_hundred_thousand_lines_take_seconds(folder):
    lines = [f'a.wav,"text {number}",s,{number / 1000},0.001\n' for number in range(100_000)]
    started = time.process_time()
    manifest = read(folder, 'x.csv', 'path,text,speaker,offset,duration\n' + ''.join(lines))
    assert len({each.utterance_id for each in manifest.recordings}) == 100_000
    missing = read(folder, 'y.csv', 'path,text\n' + ''.join(f'x/{number}.wav,"t\n' for number in range(20_000)))
    assert len(missing.problems) == 20_000
    assert time.process_time() - started < 20  # 3 s; quadratic would take minutes


def preprocess(folder, manifest, *flags):
    arguments = [*flags, '--jobs', '1', *map(str, (manifest, folder / 'feat', folder / 'i.json'))]
    return run_main(lambda: manifest_preprocess.main(arguments))


def test_faults_are_listed_and_counted_and_the_rest_is_preprocessed(folder, capsys):
    lines = ['path,text,offset,duration', 'a.wav,one two,0.1,0.2', 'a.wav,beyond,0.4,0.2', 'b.wav,\u00e9,,']
    lines += ['none.wav,x,,'] * 60 + ['e.wav,three,,']
    (folder / 'x.csv').write_text('\n'.join(lines))
    assert preprocess(folder, folder / 'x.csv') == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{folder}/x.csv: CSV, audio 'path', text 'text', no speakers, segments 'offset' and 'dur")
    assert 'i.json: 2 utterances of unknown speakers' in out
    assert 'left out: 62; audio that is missing: 60; ' in out
    entries = [json.loads(line) for line in (folder / 'i.json').read_text().splitlines()]
    segment, whole = [{name: each.get(name) for name in ('audio', 'start', 'end')} for each in entries]
    assert segment == {'audio': 'a.wav', 'start': 0.1, 'end': pytest.approx(0.3)}
    assert whole == {'audio': 'e.wav', 'start': None, 'end': None}
    assert f'{folder}/x.csv line 5: {folder}/none.wav: no such file\n' in err
    assert 'left out: audio that is missing: and 10 more\n' in err
    assert f'{folder}/x.csv line 3 (a-0000400-0000600): {folder}/a.wav: segment from 0.4 s to 0.6 s: the file en' in err
    assert f'{folder}/x.csv line 4 (b-0000000-end): ' in err
    assert err.splitlines()[-1] == 'error: 62 left out, named above; the other 2 utterances are in the index'
    index = read_index([str(folder / 'i.json')])
    assert index.texts == ['one two', 'three'] and index.frames.tolist() == [19, 49]
    assert preprocess(folder, folder / 'x.csv') == 1
    assert 'features: 0 made, 2 there already' in capsys.readouterr().out


def test_nothing_that_can_be_read_is_one_line_at_the_end(folder, capsys):
    (folder / 'x.csv').write_text('path,text\nnone.wav,x\n')
    assert preprocess(folder, folder / 'x.csv') == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2 and err[1].endswith('no recording with a transcript is found; see the lines above')
    (folder / 'x.csv').write_text('path,text\n')
    assert preprocess(folder, folder / 'x.csv') == 1
    assert capsys.readouterr().err == f'error: {folder}/x.csv: no recording with a transcript is found; it is empty\n'
    assert preprocess(folder, folder / 'none.csv') == 1
    assert capsys.readouterr().err.splitlines()[-1] == f'error: {folder}/none.csv: no such file or directory'


def test_transcripts_as_people_write_them_and_other_alphabets_are_taken(folder, capsys):
    (folder / 'x.csv').write_text('path,text\na.wav,"One, two!"\nb.wav,Drei für dich\n', encoding='utf-8')
    assert preprocess(folder, folder / 'x.csv') == 1
    assert f"outside the vocabulary: {folder}/x.csv line 3 (b): 'ü' not in" in capsys.readouterr().err
    assert read_index([str(folder / 'i.json')]).texts == ['one two']
    assert preprocess(folder, folder / 'x.csv', '--make_vocab', str(folder / 'vocab.txt')) == 0
    assert read_index([str(folder / 'i.json')]).texts == ['one two', 'drei für dich']
    assert 'ü' in (folder / 'vocab.txt').read_text(encoding='utf-8')
    (folder / 'x.csv').write_text('path,text\na.wav,one\nb.wav,?!\n')
    assert preprocess(folder, folder / 'x.csv', '-v', str(folder / 'vocab.txt')) == 1
    assert f"left out: transcript without words: {folder}/x.csv line 3 (b): '?!'\n" in capsys.readouterr().err


def test_a_split_needs_speakers(folder, capsys):
    (folder / 'x.csv').write_text('path,text,speaker\na.wav,one,s1\nb.wav,two,\ne.wav,three,s2\n')
    assert preprocess(folder, folder / 'x.csv', '-s', '1:1:0') == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'error: -s/--split is by speaker, and 1 of 3 utterances have none, such as {folder}/x.csv line 3 (b); '
        'add a column speaker (in a Kaldi directory: utt2spk), or leave -s out'
    )
    (folder / 'x.csv').write_text('path,text,speaker\na.wav,one,s1\nb.wav,two,s1\ne.wav,three,s2\n')
    assert preprocess(folder, folder / 'x.csv', '-s', '1:1:0') == 0
    assert sorted(len(read_index([str(folder / f'i.{part}.json')])) for part in ('train', 'dev')) == [1, 2]


def test_the_command_has_the_flags_of_libri_preprocess_but_name(folder, capsys):
    (folder / 'x.csv').write_text('path,text\na.wav,one\n')
    assert preprocess(folder, folder / 'x.csv', '-m', 'log', '-f', '81', '-wl', '0.02', '-ws', '0.02') == 0
    assert os.listdir(folder / 'feat') == ['log-81-0.02-0.02']
    with pytest.raises(SystemExit) as end:
        preprocess(folder, folder / 'x.csv', '-n', 'x')
    assert end.value.code == 2


def test_nemo_offsets_into_joined_files_give_the_features_of_the_librispeech_layout(tmp_path, capsys):
    if not (CORPORA / 'an4').is_dir():
        pytest.skip(f'AN4 is not in {CORPORA}')
    assert libri(CORPORA / 'an4', tmp_path) == 0
    recordings = [json.loads(line) for line in (tmp_path / 'libri.json').read_text().splitlines()]
    lines, joined = [], {}
    for number, each in enumerate(recordings):
        speaker, chapter, _ = (name := os.path.basename(each['key']).removesuffix('.npz')).split('-')
        samples, rate = soundfile.read(CORPORA / 'an4/dev-clean' / speaker / chapter / f'{name}.flac', dtype='int16')
        file = f'{number // 50}.{("flac", "wav", "aiff")[number // 50]}'
        before = joined.setdefault(file, [])
        offset = sum(map(len, before)) / rate
        before.append(samples)
        lines.append({'audio_filepath': file, 'duration': len(samples) / rate, 'offset': offset, 'text': each['texts']})
    for file, parts in joined.items():
        soundfile.write(tmp_path / file, np.concatenate(parts), 16000)
    (tmp_path / 'x.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    assert preprocess(tmp_path, tmp_path / 'x.jsonl') == 0
    ours = [json.loads(line) for line in (tmp_path / 'i.json').read_text().splitlines()]
    assert len(ours) == len(recordings) == 126
    for one, other in zip(ours, recordings, strict=True):
        with np.load(tmp_path / one['key']) as segment, np.load(tmp_path / other['key']) as whole:
            np.testing.assert_array_equal(segment['features'], whole['features'])
            np.testing.assert_array_equal(segment['label'], whole['label'])
        assert (one['duration'], one['frames'], one['texts']) == (other['duration'], other['frames'], other['texts'])


def libri(corpus, folder):
    arguments = ['--jobs', '1', '-n', 'dev-clean', str(corpus), str(folder / 'libri'), str(folder / 'libri.json')]
    return run_main(lambda: libri_preprocess.main(arguments))
