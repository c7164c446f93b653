"""Lists of hot words: the format, and one clear line for what cannot be used."""

import numpy as np
import pytest

from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, UsageError
from utils.lm.context_graph import boost
from utils.lm.hotwords import read_hotwords

ENGLISH = Vocabulary.english()


def boosts(hotwords, *texts, vocabulary=ENGLISH):
    return [boost(hotwords.graph, np.array(vocabulary.encode(text), np.int64)) for text in texts]


def written(tmp_path, text):
    path = tmp_path / 'hot.txt'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_file_has_a_phrase_a_line_with_a_weight_after_a_tab_or_colon(tmp_path):
    path = written(tmp_path, '\ufeffAnn\n# cities\n\n  New   York\t2\r\nparis: 0.5\n')
    found = read_hotwords(path, ENGLISH, 1.5)
    assert found.num_phrases == 3
    assert boosts(found, 'ann', 'new york', 'in paris', 'anna') == [4.5, 16.0, 2.5, 0.0]
    assert {ENGLISH.decode(word) for word in found.words} == {'ann', 'new', 'york', 'paris'}


def test_a_list_has_phrases_between_commas():
    found = read_hotwords("name:3, new york:2,o'hara", ENGLISH, 1.0)
    assert boosts(found, 'name', 'new york', "o'hara") == [12.0, 16.0, 6.0]


def test_a_negative_weight_makes_a_word_rarer_but_not_known():
    found = read_hotwords('a:-2,b:0,c', ENGLISH, 1.0)
    assert boosts(found, 'a', 'b') == [-2.0, 0.0]
    assert found.words == ((3,),)


def test_equal_phrases_count_once(tmp_path, caplog):
    caplog.set_level('INFO')
    assert boosts(read_hotwords(written(tmp_path, 'Ann\nann\nANN:1\n'), ENGLISH, 1.0), 'ann') == [3.0]
    assert 'hot words: 1 phrases, 2 repeated' in caplog.text


def test_languages_without_spaces_have_no_word_boundaries(tmp_path):
    vocabulary = Vocabulary(['北', '京', '大', '学'])
    found = read_hotwords(written(tmp_path, '京大:2\n北京\n'), vocabulary, 1.0)
    assert boosts(found, '北京大学', '北京', vocabulary=vocabulary) == [6.0, 2.0]
    assert found.words == ()


def test_units_that_stand_apart_are_whole_words():
    vocabulary = Vocabulary(['bei3', 'jing1', 'da4'])
    assert boosts(read_hotwords('bei3 jing1:2', vocabulary, 1.0), 'bei3 jing1 da4', vocabulary=vocabulary) == [4.0]


def test_a_colon_of_the_vocabulary_belongs_to_the_phrase(tmp_path):
    vocabulary = Vocabulary([' ', *'0123456789:'])
    found = read_hotwords(written(tmp_path, '12:30\n10:15\t2\n'), vocabulary, 1.0)
    assert boosts(found, '12:30', '10:15', vocabulary=vocabulary) == [5.0, 10.0]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('josé', "'josé' has symbols that the vocabulary of the run lacks: 'é'; spell it otherwise or remove it"),
        (':3', 'the phrase is empty; give PHRASE, or PHRASE:WEIGHT'),
        ('bob:', "the weight '' is not a number from -100 to 100; give PHRASE, or PHRASE:WEIGHT"),
        ('bob\tnan', "the weight 'nan' is not a number"),
        ('bob:inf', "the weight 'inf' is not a number"),
        ('bob:101', "the weight '101' is not a number"),
        ('bob:much', "the weight 'much' is not a number"),
        ('Ann: 2', "'ann' has the weight 2 here, 1 in {path} line 1; remove one of them"),
        ('bo\x07b', r"lacks: '\x07'"),
        (b'bj\xf6rn', 'not UTF-8 text (invalid start byte); save it as UTF-8'),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    path = written(tmp_path, b'ann\n\n' + (line if isinstance(line, bytes) else line.encode()) + b'\n')
    with pytest.raises(DataError) as caught:
        read_hotwords(path, ENGLISH, 1.0)
    assert str(caught.value).startswith(f'{path} line 3: ') and message.format(path=path) in str(caught.value)
    assert '\n' not in str(caught.value) and not isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    ('items', 'message'),
    [
        ('ann,bob.txt', "--hotwords 'bob.txt': 'bob.txt' has symbols that the vocabulary of the run lacks: '.'; "),
        ('ann,,bob', "--hotwords '': the phrase is empty"),
        ('ann,ann:3', "--hotwords 'ann:3': 'ann' has the weight 3 here, 1 in --hotwords 'ann'; remove one"),
    ],
)
def test_a_bad_item_of_a_list_is_a_usage_error(items, message):
    with pytest.raises(UsageError) as caught:
        read_hotwords(items, ENGLISH, 1.0)
    assert message in str(caught.value)


def test_a_list_that_names_no_file_is_said_to():
    with pytest.raises(UsageError, match=r"--hotwords 'lists/names.txt': .* \(no file has this name\)"):
        read_hotwords('lists/names.txt', ENGLISH, 1.0)


def test_an_empty_file_has_no_phrases(tmp_path):
    found = read_hotwords(written(tmp_path, '# none yet\n'), ENGLISH, 1.0)
    assert (found.num_phrases, len(found.graph.tokens), found.words) == (0, 1, ())
