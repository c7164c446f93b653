"""Text to ids and back, for characters, pinyin syllables and phones."""

import pytest

from utils.data.vocabulary import Vocabulary
from utils.errors import DataError


def test_english_alphabet_has_space_first_and_the_apostrophe_last():
    english = Vocabulary.english()
    assert english.encode("az 'b") == [1, 26, 0, 27, 2]
    assert len(english) == 28
    assert english.has_space


def test_decode_undoes_encode():
    for tokens, text in [([' ', 'a', 'b'], 'ab a'), (['一', '二'], '二一'), (['a1', 'b', 'd'], 'b a1 d')]:
        vocabulary = Vocabulary(tokens)
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_text_is_folded_to_the_only_case_there_is():
    assert Vocabulary([' ', 'a']).encode('A a') == [1, 0, 1]
    assert Vocabulary([' ', 'A']).encode('A a') == [1, 0, 1]
    assert Vocabulary(['A', 'a']).encode('aA') == [1, 0]


def test_folding_keeps_the_number_of_characters_and_the_language():
    assert Vocabulary([' ', 'i', 'ı']).encode('Iİ iı') == [2, 1, 0, 1, 2]
    assert Vocabulary([' ', 'I', 'İ']).encode('Iİ iı') == [1, 2, 0, 2, 1]
    assert Vocabulary.english().unknown('İSTANBUL I') == ['İ']
    assert Vocabulary([' ', 'A', 'S']).unknown('aßs') == ['ß']
    assert Vocabulary([' ', 'I', 'A']).encode('ia') == [1, 2]


def test_composed_and_decomposed_characters_are_the_same():
    assert Vocabulary([' ', 'é']).encode('E\u0301 é') == [1, 0, 1]
    assert Vocabulary([' ', 'e\u0301']).encode('é e\u0301') == [1, 0, 1]
    assert Vocabulary(['cafe\u0301', 'a']).encode('café cafe\u0301') == [0, 0]
    with pytest.raises(DataError, match="'é' has two ids"):
        Vocabulary(['é', 'e\u0301'])
    assert Vocabulary.from_transcripts(['é', 'e\u0301'], 'char').tokens == ['é']


def test_accents_may_be_tokens_of_their_own():
    assert Vocabulary([' ', 'e', '\u0301']).encode('é e\u0301') == [1, 2, 0, 1, 2]
    assert Vocabulary([' ', 'e', 'é', '\u0301']).encode('é e\u0301') == [2, 0, 1, 3]


def test_unknown_units_may_have_an_id():
    assert Vocabulary(['a', 'b']).encode('axb', unknown=-1) == [0, -1, 1]
    assert Vocabulary([' ', 'a']).spell(' X  a') == 'x a'
    assert Vocabulary(['a1', 'b']).spell('b  c') == 'b c'


def test_white_space_counts_as_one_space():
    assert Vocabulary([' ', 'a']).encode('  a \t a\n') == [1, 0, 1]
    assert Vocabulary([' ', 'a']).encode('') == []


def test_single_characters_apart_by_spaces_are_units_too():
    assert Vocabulary(['b', 'd']).encode('d b') == [1, 0]


def test_unknown_units_are_listed_once():
    assert Vocabulary.english().unknown('café №1 é') == ['é', '№', '1']
    assert Vocabulary.english().unknown("it's fine") == []
    assert Vocabulary(['a1', 'b']).unknown('a1 c b c') == ['c']


def test_unknown_unit_is_named_with_a_remedy():
    with pytest.raises(DataError, match="character 'é' is not in .*; rebuild"):
        Vocabulary.english().encode('café')
    with pytest.raises(DataError, match="unit 'ng4' is not in"):
        Vocabulary(['a1', 'b']).encode('b ng4')


def test_vocabulary_of_transcripts_is_sorted():
    assert Vocabulary.from_transcripts(['三 一', '二'], 'char').tokens == ['一', '三', '二']
    assert Vocabulary.from_transcripts(['b a1', 'a1 c'], 'phone').tokens == ['a1', 'b', 'c']


def test_file_has_a_token_and_its_id_a_line(tmp_path):
    path = str(tmp_path / 'v.txt')
    Vocabulary([' ', 'é', "'"]).write(path)
    assert (tmp_path / 'v.txt').read_text(encoding='utf-8') == "<SPACE> 0\né 1\n' 2\n"
    assert Vocabulary.read(path).tokens == [' ', 'é', "'"]


def test_file_may_be_in_any_order(tmp_path):
    (tmp_path / 'v.txt').write_bytes(b'\xef\xbb\xbfb 1\r\na\t0\r\n\r\n')
    assert Vocabulary.read(str(tmp_path / 'v.txt')).tokens == ['a', 'b']


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (b'', 'no tokens'),
        (b'a 0\nb\n', 'line 2: expected "TOKEN ID", got \'b\''),
        (b'a 0\n  1\n', 'line 2: expected .*<SPACE>'),
        (b'a 0\nb -1\n', 'line 2: expected'),
        (b'a 0\nb ' + b'1' * 5000, 'line 2: expected'),
        (b'a 0\n\x1b[2J 1\n', r"token '.x1b\[2J' has a control character"),
        (b'a 0\nb 0\n', 'line 2: id 0 is given twice'),
        (b'a 0\na 1\n', "'a' has two ids"),
        (b'a 0\nb 2\n', 'no token has the id 1'),
        (b'<SPACE> 0\nng 1\n', "'ng' has more than one character"),
        (b'\xff 0\n', 'not UTF-8'),
    ],
)
def test_broken_file_names_the_fault(tmp_path, content, complaint):
    (tmp_path / 'v.txt').write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        Vocabulary.read(str(tmp_path / 'v.txt'))
