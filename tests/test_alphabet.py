"""Alphabets: normalised transcripts, vocabularies built from them, and the report of odd characters."""

from argparse import Namespace

import pytest

from utils.data.alphabet import Alphabet, CharacterCounts, TranscriptNormaliser
from utils.data.corpora import Recording
from utils.data.vocabulary import Vocabulary
from utils.errors import DataError, UsageError

FLAGS = {'unknown': 'leave_out', 'case': 'lower', 'punctuation': 'keep'}
FLAGS |= dict.fromkeys(('vocabfile', 'make_vocab', 'min_count', 'split'))


def recordings(*texts):
    return [Recording(f'u{number}', f'u{number}.wav', text, 's', f'u{number}') for number, text in enumerate(texts)]


def report(*texts):
    return CharacterCounts((f'u{number}', text) for number, text in enumerate(texts)).report()


def test_characters_of_a_chosen_vocabulary_are_not_odd(capsys):
    texts = ["it's", 'é' * 5, 'a b c d']
    Alphabet().apply(recordings(*texts), [])
    assert capsys.readouterr().out == ''
    assert report(*texts)[-1] == "odd: punctuation: \"'\" 1 (u0)"


@pytest.mark.parametrize(
    ('case', 'text', 'expected'),
    [
        ('lower', 'STRASSE Привет Ёж', 'strasse привет ёж'),
        ('upper', 'Straße привет', 'STRASSE ПРИВЕТ'),
        ('keep', 'Der Ofen', 'Der Ofen'),
        ('lower', 'ISPARTA İzmir', 'isparta i\u0307zmir'),
        ('lower', ' a \u00a0\t b ', 'a b'),
        ('keep', "it's 5 %, isn’t it?", "it's 5 %, isn’t it?"),
    ],
)
def test_case_follows_unicodes_default_mappings(case, text, expected):
    assert TranscriptNormaliser(case, 'keep')(text) == expected


def test_in_turkish_i_and_dotless_i_are_two_letters():
    assert TranscriptNormaliser('lower', 'keep', has_dotless_i=True)('ISPARTA İzmir') == 'ısparta izmir'
    assert TranscriptNormaliser('upper', 'keep', has_dotless_i=True)('ısparta izmir') == 'ISPARTA İZMİR'
    assert TranscriptNormaliser('keep', 'keep', has_dotless_i=True)('Iı İi') == 'Iı İi'


@pytest.mark.parametrize('case', ['lower', 'upper', 'keep'])
@pytest.mark.parametrize('punctuation', ['drop', 'keep'])
def test_normalised_text_is_composed_and_stays_as_it_is(case, punctuation):
    normalise = TranscriptNormaliser(case, punctuation)
    once = normalise("Cafe\u0301 'n' Straße – und İ, l’été!")
    assert 'é' in once.lower() and '\u0301' not in once
    assert normalise(once) == once


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('Hello,world -- again...', 'hello world again'),
        ('twenty-one E‑Mail', 'twenty one e mail'),
        ("don't don’t don´t rock 'n' roll, the dogs'", "don't don't don't rock n roll the dogs"),
        ("l’été qu'e\u0301", "l'été qu'é"),
        ('«Привет», – сказал он…', 'привет сказал он'),
        ('col·lega a · b', 'col·lega a b'),
        ('12,5 % von 3€ a_b', '12 5 von 3 a b'),
        ('zero\u200bwidth \ufefffirst soft\u00adhyphen \u200fright', 'zerowidth first softhyphen right'),
        ('می\u200cخواهم \u200cب', 'می\u200cخواهم ب'),
        ('हिन्दी।', 'हिन्दी'),
    ],
)
def test_punctuation_becomes_a_space_but_for_marks_within_a_word(text, expected):
    assert TranscriptNormaliser('lower', 'drop')(text) == expected


def test_dropped_characters_are_counted():
    normalise = TranscriptNormaliser('lower', 'drop')
    normalise("a, b, it's")
    normalise('c!')
    assert normalise.dropped == {',': 2, '!': 1}


def test_the_report_names_each_kind_with_its_count_and_an_utterance():
    base = 'abcdefgh ' * 5
    assert report(base) == []
    assert report(base, 'a\u200bb', 'c a 7 7') == [
        'odd: digits and numbers: 7 2 (u2)',
        'odd: format characters (invisible): U+200B ZERO WIDTH SPACE 1 (u1)',
    ]
    assert report(base, 'a.', 'b. €', 'z', 'e\u0323') == [
        'odd: fewer than 5 times: z 1 (u3), U+0323 COMBINING DOT BELOW 1 (u4)',
        "odd: punctuation: '.' 2 (u1)",
        'odd: symbols: € 1 (u2)',
    ]
    assert report(base, 'a\x07') == ['odd: control characters: U+0007 1 (u1)']


def test_look_alike_letters_of_another_script_are_named_with_the_word():
    cyrillic_a = '\u0430'
    assert report('cat ' * 5, f'c{cyrillic_a}t', 'cat') == [
        f'odd: letters of a script other than Latin: {cyrillic_a} 1 (u1)',
        f"odd: words that mix scripts: 'c{cyrillic_a}t' (Cyrillic {cyrillic_a} U+0430; u1)",
    ]
    (line,) = report('кот ' * 5, 'kot и ' * 5)
    assert line == 'odd: letters of a script other than Cyrillic: k 5 (u1), o 5 (u1), t 5 (u1)'
    assert report('テレビを見る' * 5) == []  # Japanese mixes its scripts


def test_long_lists_of_the_report_are_cut():
    (line,) = report('abcdefghijkl')
    assert line.endswith('j 1 (u0), and 2 more')


def test_the_vocabulary_has_the_space_first_and_frequent_characters_sorted(tmp_path, capsys):
    alphabet = Alphabet(vocabulary_path=str(tmp_path / 'v'), min_count=2)
    kept, vocabulary = alphabet.apply(recordings('Ö b ß', "öa'b", 'aß!', "'"), problems := [])
    assert vocabulary.tokens == [' ', "'", 'a', 'b', 'ß', 'ö']
    assert [each.text for each in kept] == ['ö b ß', "öa'b", 'aß!', "'"] and not problems
    assert vocabulary.unknown('aß!') == ['!']
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}/v: 6 tokens: <SPACE> \"'\" a b ß ö"


def test_texts_without_spaces_give_a_vocabulary_without_one():
    assert Alphabet(vocabulary_path='v').apply(recordings('二一', '一'), [])[1].tokens == ['一', '二']


def test_transcripts_with_control_characters_or_nothing_left_are_left_out_and_named(capsys):
    alphabet = Alphabet(vocabulary_path='v', punctuation='drop')
    kept, vocabulary = alphabet.apply(recordings('ab', 'ac\x07', '...', 'b'), problems := [])
    assert [each.text for each in kept] == ['ab', 'b']
    assert [(each.kind, each.where) for each in problems] == [
        ('control character in a transcript', 'u1'), ('transcript without words', 'u2'),
    ]  # fmt: skip
    assert vocabulary.tokens == ['a', 'b']
    assert "dropped from the transcripts: '.' 3" in capsys.readouterr().out
    assert alphabet.apply(recordings('...'), problems)[0] == [] and len(problems) == 3
    with pytest.raises(DataError, match='--min_count 9 times'):
        Alphabet(vocabulary_path='v', min_count=9).apply(recordings('ab'), [])


def test_turkish_is_recognised_by_its_letters_not_by_a_name():
    turkish = Alphabet(vocabulary_path='v').apply(recordings('ISPARTA yakın', 'İki gün'), [])[0]
    assert [each.text for each in turkish] == ['ısparta yakın', 'iki gün']
    english = Alphabet(vocabulary_path='v').apply(recordings('I think it is in İzmir ' + 'i ' * 20), [])[0]
    assert english[0].text.startswith('i think it is in i\u0307zmir')
    given = Alphabet(given=Vocabulary([' ', 'i', 'ı'])).apply(recordings('I İ'), [])[0]
    assert given[0].text == 'ı i'


def test_without_options_the_alphabet_is_english_and_nothing_is_printed(capsys):
    kept, vocabulary = Alphabet().apply(recordings("IT'S"), [], has_report=False)
    assert vocabulary == Vocabulary.english() and kept[0].text == "it's"
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ({'vocabfile': 'a', 'make_vocab': 'b'}, 'give one of them'),
        ({'min_count': 2}, '--min_count 2 is for the vocabulary of --make_vocab'),
        ({'unknown': 'keep', 'make_vocab': 'b'}, '--make_vocab for training sets'),
        ({'unknown': 'keep', 'split': (8, 1, 1)}, '-s/--split for training sets'),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(flags, message):
    with pytest.raises(UsageError, match=message):
        Alphabet.from_flags(Namespace(**(FLAGS | flags)))
