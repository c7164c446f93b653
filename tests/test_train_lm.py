"""scripts/train_lm.py, from command line to a model that scores."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.train_lm import main
from utils.errors import DataError, UsageError
from utils.lm.ngram import load_model

SCRIPT = Path(__file__).parent.parent / 'scripts' / 'train_lm.py'


def write(path, *lines):
    path.write_text('\n'.join([*lines, '']), encoding='utf-8')
    return str(path)


def write_index(path, *texts):
    return write(path, *(json.dumps({'key': 'x.npz', 'duration': 1.0, 'texts': text}) for text in texts))


def words_of(path):
    return load_model(path, use_cache=False).words[3:]


def test_text_and_indexes_become_a_model(tmp_path, capsys):
    text = write(tmp_path / 'a.txt', 'The cat, the CAFÉ!', '', 'don’t')
    (tmp_path / 'b.txt.gz').write_bytes(gzip.compress(b'one two\n'))
    index = write_index(tmp_path / 'train.json', 'THE DOG')
    lm = str(tmp_path / 'new' / 'lm.arpa.gz')
    assert main([text, str(tmp_path / 'b.txt.gz'), index, '-l', lm, '-o', '2']) == 0
    assert words_of(lm) == ['the', 'cat', 'cafe', "don't", 'one', 'two', 'dog']
    assert re.fullmatch(r'.*: 10 1-grams, 12 2-grams from 4 sentences of 9 words\n', capsys.readouterr().out)


def test_character_models_have_a_word_for_the_space(tmp_path):
    lm = str(tmp_path / 'lm.arpa')
    main([write(tmp_path / 'a.txt', 'ab a'), '-l', lm, '--unit', 'char', '-o', '4'])
    assert words_of(lm) == ['a', 'b', '<SPACE>']
    assert load_model(lm).order == 4


def test_text_without_spaces_is_parted_into_tokens(tmp_path, caplog):
    lm = str(tmp_path / 'lm.arpa')
    characters = write(tmp_path / 'zh.vocab', '你 0', '好 1')
    main([write(tmp_path / 'zh.txt', '你好，好 们'), '-l', lm, '--unit', 'char', '-v', characters])
    assert words_of(lm) == ['你', '好']
    assert "1 of 4 words of the text can't be spelled" in caplog.text
    (tmp_path / 'run').mkdir()
    write(tmp_path / 'run' / 'vocab.txt', 'ni3 0', 'hao3 1')
    main([write(tmp_path / 'pinyin.txt', 'ni3 hao3'), '-l', lm, '--unit', 'char', '-s', str(tmp_path / 'run')])
    assert words_of(lm) == ['ni3', 'hao3']
    with pytest.raises(UsageError, match='--unit word: .* no space'):
        main([str(tmp_path / 'zh.txt'), '-l', lm, '-v', characters])


@pytest.mark.parametrize(
    ('unit', 'vocabulary', 'words'),
    [
        ('word', [], ['the', 'cat', 'sat']),
        ('char', [], ['t', 'h', 'e', '<SPACE>', 'c', 'a', 's']),
        ('char', ['的 0', '猫 1'], ['的', '猫']),
    ],
)
def test_sentence_marks_part_sentences_and_an_unknown_word_stays_one(tmp_path, caplog, unit, vocabulary, words):
    plain = ['的猫', '的', '猫<unk>的'] if vocabulary else ['the cat', 'sat', 'the <unk> sat']
    marked = [f'<s> {plain[0]} </s> <s> {plain[1]} </s>', f'<S>{plain[2].upper()}</S>']
    flags = ['--unit', unit, '-o', '2', *(['-v', write(tmp_path / 'vocab.txt', *vocabulary)] if vocabulary else [])]
    files = [str(tmp_path / name) for name in ('plain.arpa', 'marked.arpa')]
    for name, lines in zip(files, (plain, marked), strict=True):
        assert main([write(tmp_path / 'text.txt', *lines), '-l', name, *flags]) == 0
    assert words_of(files[0]) == words
    assert Path(files[0]).read_bytes() == Path(files[1]).read_bytes()
    assert 'cannot be spelled' not in caplog.text and "can't be spelled" not in caplog.text


def test_words_that_cannot_be_spelled_become_unk(tmp_path, caplog):
    lm = str(tmp_path / 'lm.arpa')
    main([write(tmp_path / 'a.txt', 'in 1984 he', 'in 1985 he'), '-l', lm])
    assert words_of(lm) == ['in', 'he']
    assert (
        "2 of 6 words of the text can't be spelled with the vocabulary and became <unk> (most often: '1984'"
        in caplog.text
    )


def test_pruned_ngrams_are_not_in_the_file(tmp_path):
    text, lm = write(tmp_path / 'a.txt', 'a b c', 'a b d'), str(tmp_path / 'lm.arpa')
    main([text, '-l', lm, '--prune', '0', '1'])
    lines = Path(lm).read_text().splitlines()
    assert lines[1:4] == ['ngram 1=7', 'ngram 2=2', 'ngram 3=1']


def test_test_transcripts_in_the_text_are_warned_of(tmp_path, caplog):
    index = write_index(tmp_path / 'train.json', 'go to page nine', 'yes', 'another line of text')
    write_index(tmp_path / 'test.json', 'Go to page NINE', 'yes', 'never seen before')
    main([index, '-l', str(tmp_path / 'lm.arpa')])
    assert '1 of the 2 different transcripts of' in caplog.text
    caplog.clear()
    main([index, '-l', str(tmp_path / 'lm.arpa'), '--check', write_index(tmp_path / 'dev.json', 'not in there')])
    assert 'transcripts' not in caplog.text


def test_faults_are_named(tmp_path):
    lm = str(tmp_path / 'lm.arpa')
    with pytest.raises(DataError, match='x.json line 2: not an utterance with texts'):
        main([write(tmp_path / 'x.json', '{"texts": "a"}', '{"text": "a"}'), '-l', lm])
    with pytest.raises(DataError, match='the text holds no words'):
        main([write(tmp_path / 'empty.txt', ' ', '...'), '-l', lm])
    (tmp_path / 'latin.txt').write_bytes(b'a\ncaf\xe9 b\n')
    with pytest.raises(DataError, match='latin.txt line 2: not UTF-8'):
        main([str(tmp_path / 'latin.txt'), '-l', lm])
    assert not Path(lm).exists()


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['-o', '11'], 'must be at least 1 and at most 10'),
        (['--prune', '1'], 'the first 0'),
        (['--prune', '0', '2', '1'], 'do not fall'),
    ],
)
def test_usage_errors_are_one_line_and_status_2(tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / 'a.txt'), '-l', 'lm.arpa', *flags])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_it_runs_from_anywhere(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), '-h'], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '--prune' in done.stdout
    done = subprocess.run(
        [sys.executable, str(SCRIPT), 'missing.txt', '-l', 'lm.arpa'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, 'error: missing.txt: no such file or directory\n')
