"""Reading n-gram models, against a slow direct reading of the definition."""

import gzip
import itertools
import os

import numpy as np
import pytest

from utils.errors import DataError
from utils.lm.ngram import LN_10, advance, cache_paths, load_model

SMALL = """\
this is a comment
\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.4\ta\t-0.3
-0.9\tb\t-0.2

\\2-grams:
-0.2\t<s> a\t-0.1
-0.5 a b
-0.6\ta a\t0.05
-0.3\tb </s>

\\3-grams:
-0.15\t<s> a b
-0.25\ta b </s>

\\end\\
"""


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return path


def entries(text):
    """The lines of an ARPA text as {n-gram: (log10 probability, log10 backoff)}."""
    found, order = {}, 0
    for line in text.splitlines():
        if line.endswith('-grams:'):
            order = int(line[1])
        elif line.startswith('\\end'):
            break
        elif order and line.split():
            number, *words = line.split()
            backoff = float(words.pop()) if len(words) > order else 0.0
            found.setdefault(tuple(words), (float(number), backoff))
    return found


def defined_log10(found, context, word):
    """p(w | h) if `h w` is listed, else backoff(h) p(w | h without its first word): the definition itself."""
    if (word,) not in found:
        word = '<unk>'
    if (*context, word) in found:
        return found[(*context, word)][0]
    return found.get(context, (0, 0.0))[1] + defined_log10(found, context[1:], word)


def assert_agrees(model, text, words, length, order):
    found = entries(text)
    for sentence in itertools.product(words, repeat=length):
        known = ['<s>', *(word if (word,) in found else '<unk>' for word in sentence), '</s>']
        expected = [
            defined_log10(found, tuple(known[max(0, i - order + 1) : i]), known[i]) for i in range(1, len(known))
        ]
        np.testing.assert_allclose(model.log_probs(sentence) / LN_10, expected, atol=1e-5)


def test_scores_follow_the_definition(tmp_path):
    model = load_model(write(tmp_path / 'lm.arpa', SMALL))
    assert (model.order, model.num_ngrams, model.words) == (3, 11, ['<unk>', '<s>', '</s>', 'a', 'b'])
    assert_agrees(model, SMALL, ['a', 'b', 'zebra'], 4, 3)


def test_a_score_by_hand(tmp_path):
    model = load_model(write(tmp_path / 'lm.arpa', SMALL))
    # <s> b: backoff(<s>) + p(b); b a: backoff(b) + p(a); b a b: p(b | a); a b </s> is listed
    np.testing.assert_allclose(model.log_probs(['b', 'a', 'b']) / LN_10, [-1.4, -0.6, -0.5, -0.25], atol=1e-6)


def test_random_models_of_order_four_follow_the_definition(tmp_path):
    rng = np.random.default_rng(1)
    words = ['<unk>', '<s>', '</s>', 'a', 'b', 'c']
    listed = [[(word,) for word in words]]
    for _ in range(3):
        longer = [(*gram, word) for gram in listed[-1] for word in words[2:] if gram[-1] != '</s>']
        rng.shuffle(longer)
        listed.append([tuple(gram) for gram in longer[: len(longer) // 2]])
    lines = ['\\data\\', *(f'ngram {order}={len(grams)}' for order, grams in enumerate(listed, 1))]
    for order, grams in enumerate(listed, 1):
        lines.append(f'\n\\{order}-grams:')
        lines += [f'{-rng.uniform(0.1, 3):.5f}\t{" ".join(gram)}\t{rng.normal():.4f}' for gram in grams]
    text = '\n'.join([*lines, '\n\\end\\', ''])
    assert_agrees(load_model(write(tmp_path / 'lm.arpa', text)), text, ['a', 'b', 'c', 'd'], 4, 4)


def test_an_ngram_whose_prefix_is_missing_is_an_error(tmp_path):
    text = SMALL.replace('ngram 2=4', 'ngram 2=3').replace('-0.5 a b\n', '')
    with pytest.raises(DataError, match="lm.arpa: 'a b </s>' is listed, but not 'a b' .* scripts/train_lm.py"):
        load_model(write(tmp_path / 'lm.arpa', text))


def test_gzip_spaces_carriage_returns_and_a_missing_last_newline_change_nothing(tmp_path):
    expected = load_model(write(tmp_path / 'lm.arpa', SMALL)).log_probs(['a', 'b', 'a'])
    text = SMALL.replace('\t', '  ').replace('\n', '\r\n').rstrip()
    (tmp_path / 'lm.arpa.gz').write_bytes(gzip.compress(text.encode()))
    np.testing.assert_array_equal(load_model(tmp_path / 'lm.arpa.gz').log_probs(['a', 'b', 'a']), expected)


def test_a_no_break_space_is_part_of_a_word(tmp_path):
    model = load_model(write(tmp_path / 'lm.arpa', SMALL.replace('\tb', '\tb\u00a0c').replace(' b', ' b\u00a0c')))
    assert 'b\u00a0c' in model.words


def test_a_model_without_unk_scores_unknown_words_as_kenlm_does(tmp_path, caplog):
    text = SMALL.replace('-2.0\t<unk>\n', '').replace('ngram 1=5', 'ngram 1=4')
    model = load_model(write(tmp_path / 'lm.arpa', text))
    assert 'has no <unk>' in caplog.text
    np.testing.assert_allclose(model.log_probs(['zebra'])[0] / LN_10, -100.5, atol=1e-4)
    np.testing.assert_allclose(model.log_probs(['a', 'b']) / LN_10, [-0.2, -0.15, -0.25], atol=1e-6)


def test_an_ngram_that_is_listed_twice_is_an_error(tmp_path):
    text = SMALL.replace('-0.5 a b\n', '-0.5 a b\n-0.1 a b\n').replace('ngram 2=4', 'ngram 2=5')
    with pytest.raises(DataError, match="lm.arpa: 'a b' is listed twice"):
        load_model(write(tmp_path / 'lm.arpa', text))
    text = SMALL.replace('-0.9\tb\t-0.2\n', '-0.9\tb\t-0.2\n-0.1\ta\t-0.3\n').replace('ngram 1=5', 'ngram 1=6')
    with pytest.raises(DataError, match="lm.arpa: the 1-grams list 'a' twice"):
        load_model(write(tmp_path / 'lm.arpa', text))


def test_every_cut_through_the_file_is_an_error(tmp_path):
    path = tmp_path / 'lm.arpa'
    for end in range(0, SMALL.index('\\end\\') + 4, 7):
        with pytest.raises(DataError, match='lm.arpa'):
            load_model(write(path, SMALL[:end]), use_cache=False)
    (tmp_path / 'lm.arpa.gz').write_bytes(gzip.compress(SMALL.encode())[:-20])
    with pytest.raises(DataError, match='damaged or cut off'):
        load_model(tmp_path / 'lm.arpa.gz')


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('-0.5 a b', '-0.5 a x', r"line 16: .*'-0.5 a x': the word 'x' is not among the 1-grams"),
        ('-0.5 a b', 'o.5 a b', r"line 16: .*'o.5 a b': could not convert string to float"),
        ('-0.5 a b', '0.5 a b', r'line 16: .* log10 probability above 0'),
        ('-0.5 a b', '-0.5 a', r"line 16: .*'-0.5 a': not LOG10_PROBABILITY, 2 word"),
        ('-0.5 a b', '-0.5 a b\n-0.5 b b', r'line 19: by the counts of the header .*3-grams: should stand here'),
        ('-0.5 a b\n', '', r'line 18: expected one of the 4 2-grams of the header'),
        ('ngram 3=2\n', '', r'line 19: by the counts of the header \\end\\ should stand here, found .*3-grams'),
        ('ngram 3=2', 'ngram 3=9', r"line 23: expected one of the 9 3-grams of the header, found ''"),
        ('-0.4\ta', 'nan\ta', r'line 11: .* a number that is not finite'),
        ('ngram 2', 'ngram 3', r'line 4: expected "ngram 2=COUNT"'),
        ('\\3-grams:', '\\4-grams:', r'\\3-grams: should stand here'),
        ('\\data\\', 'data', 'this is no ARPA file'),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        load_model(write(tmp_path / 'lm.arpa', SMALL.replace(old, new, 1)))


def test_a_byte_order_mark_changes_nothing(tmp_path):
    expected = load_model(write(tmp_path / 'lm.arpa', SMALL)).log_probs(['a', 'b', 'a'])
    without_comment = SMALL.partition('\n')[2]
    for text in (SMALL, without_comment):
        model = load_model(write(tmp_path / 'lm.arpa', '\ufeff' + text))
        np.testing.assert_array_equal(model.log_probs(['a', 'b', 'a']), expected)


def test_the_cache_is_used_until_the_file_changes(tmp_path, monkeypatch):
    path = write(tmp_path / 'lm.arpa', SMALL)
    first = load_model(path)
    assert cache_paths(path)[0].is_file()
    with monkeypatch.context() as patch:
        patch.setattr('utils.lm.ngram.read_arpa', lambda _: pytest.fail('read again'))
        again = load_model(path)
    for expected, array in zip(first.tables, again.tables, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert again.words == first.words
    status = path.stat()
    write(path, SMALL.replace('-0.4\ta', '-0.3\ta'))  # the same length
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # and, as on coarse file systems, the same time
    assert load_model(path).log_probs(['b', 'a'])[1] / LN_10 == pytest.approx(-0.5, abs=1e-6)


def test_a_cache_that_is_out_of_date_is_replaced(tmp_path):
    path = write(tmp_path / 'lm.arpa', SMALL)
    load_model(path)
    load_model(write(path, SMALL.replace('-0.4\ta', '-0.3\ta')))
    assert [each for each in tmp_path.iterdir() if each != path] == [cache_paths(path)[0]]


def test_a_cache_that_comes_with_a_file_is_not_believed(tmp_path, caplog):
    path = write(tmp_path / 'lm.arpa', SMALL)
    load_model(write(path, SMALL.replace('-0.4\ta', '-0.3\ta')))
    theirs = cache_paths(path)[0].read_bytes()
    status = path.stat()
    (tmp_path / 'copy').mkdir()
    copy = write(tmp_path / 'copy' / 'lm.arpa', SMALL.replace('-0.4\ta', '-0.3\ta'))
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache_paths(copy)[0].write_bytes(theirs)
    load_model(copy)
    assert 'of another file' in caplog.text
    assert cache_paths(copy)[0].read_bytes() != theirs


@pytest.mark.parametrize(
    'damage', [lambda data: data[:-4], lambda data: b'something else', lambda data: b'', lambda data: data + b'\0']
)
def test_a_damaged_cache_is_made_again(tmp_path, caplog, damage):
    path = write(tmp_path / 'lm.arpa', SMALL)
    expected = load_model(path).log_probs(['a', 'b'])
    cache = cache_paths(path)[0]
    whole = cache.read_bytes()
    cache.write_bytes(damage(whole))
    np.testing.assert_array_equal(load_model(path).log_probs(['a', 'b']), expected)
    assert 'cannot be used' in caplog.text
    assert cache.read_bytes() == whole


def test_every_flipped_bit_of_a_cache_is_noticed(tmp_path, caplog):
    path = write(tmp_path / 'lm.arpa', SMALL)
    load_model(path)
    cache = cache_paths(path)[0]
    whole = cache.read_bytes()
    for bit in range(0, 8 * len(whole), 13):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        cache.write_bytes(data)
        caplog.clear()
        load_model(path)
        assert 'cannot be used' in caplog.text
        assert cache.read_bytes() == whole


def test_the_cache_goes_to_the_users_directory_where_the_files_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    path = write(tmp_path / 'lm.arpa', SMALL)
    beside, in_home = cache_paths(path)
    beside.mkdir()  # even root cannot replace a directory by a file
    load_model(path)
    assert in_home.is_file()
    assert not list(tmp_path.glob('.*.tmp'))
    monkeypatch.setattr('utils.lm.ngram.read_arpa', lambda _: pytest.fail('read again'))
    assert load_model(path).order == 3


@pytest.mark.parametrize('home', ['/dev/null', '/proc/1/nothing', 'relative', None])
def test_without_a_place_for_the_cache_the_file_is_read_each_time(tmp_path, monkeypatch, caplog, home):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.delenv('HOME', raising=False)
    if home is None:
        monkeypatch.setattr('pwd.getpwuid', lambda uid: {}[uid])  # a user id without an entry, as in containers
    else:
        monkeypatch.setenv('HOME', home)
    path = write(tmp_path / 'lm.arpa', SMALL)
    cache_paths(path)[0].mkdir()
    for _ in range(2):
        assert load_model(path).order == 3
    assert 'could not be cached' in caplog.text
    assert sorted(each.name for each in tmp_path.iterdir()) == ['lm.arpa', 'lm.arpa.cache']


def test_unigram_models_have_one_state(tmp_path):
    text = '\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <unk>\n-0.5 </s>\n-0.7 a\n\n\\end\\\n'
    model = load_model(write(tmp_path / 'lm.arpa', text))
    np.testing.assert_allclose(model.log_probs(['a', 'b']) / LN_10, [-0.7, -1, -0.5], atol=1e-6)
    assert advance(model.tables, model.start_state, model.word_ids['a'])[1] == model.start_state


def test_a_model_is_read_without_a_home_and_where_nothing_can_be_written(tmp_path, monkeypatch, caplog):
    path = write(tmp_path / 'lm.arpa', SMALL)
    expected = load_model(path).log_probs(['a', 'b']).tolist()
    (kept,) = cache_paths(path)[:1]
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr('os.path.expanduser', lambda path: path)  # as for a user without a home directory
    monkeypatch.setattr('pathlib.Path.mkdir', lambda *_, **__: os.mkdir('/dev/null/x'))
    assert cache_paths(path) == [kept]
    assert load_model(path).log_probs(['a', 'b']).tolist() == expected and not caplog.records
    kept.rename(tmp_path / 'away')
    assert load_model(path).log_probs(['a', 'b']).tolist() == expected
    assert 'could not be cached' in caplog.text
