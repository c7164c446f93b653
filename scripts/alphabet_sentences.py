"""Grammars of small Russian and German corpora, each with about two hundred words and every letter of its alphabet."""

import random
from typing import NamedTuple


class Grammar(NamedTuple):
    """Slots of a language and the patterns that use them; an empty filler is allowed.

    Attributes:
      alphabet: letters that the sentences contain.
      slots: alternatives of each slot; those of ``action`` are a verb and its object, separated by ``|``.
      patterns: sentences with slots; ``{verb}`` and ``{object}`` are the two parts of one action.
    """

    alphabet: str
    slots: dict[str, tuple[str, ...]]
    patterns: tuple[str, ...]


def _actions(*groups: tuple[str, str]) -> tuple[str, ...]:
    """All pairs of verbs and objects within each group, which are separated by commas."""
    return tuple(
        f'{verb.strip()}|{noun.strip()}'
        for verbs, nouns in groups
        for verb in verbs.split(',')
        for noun in nouns.split(',')
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(','))


GERMAN = Grammar(
    'abcdefghijklmnopqrstuvwxyzäöüß',
    {
        'action': _actions(
            ('liest, schreibt', 'einen Brief, ein Buch, ein Märchen, das Gedicht, eine Geschichte'),
            ('kauft, verkauft, bringt', 'zwölf Eier, frische Äpfel, weiße Schuhe, grüne Bohnen, einen Teppich, '
             'Quark und Käse, eine blaue Jacke'),
            ('sucht, findet, vergisst', 'den Schlüssel, die Brille, das Heft, den Hammer, die Straßenkarte'),
            ('kocht, isst, probiert', 'die Suppe, süße Klöße, das Gemüse, heißen Pudding, fünf Würstchen'),
            ('malt, zeichnet', 'ein Haus, zwei Pferde, den großen Wald, ein weißes Schiff, die Wüste'),
            ('hört, übt', 'ein Lied, Musik von Bach, das Xylophon, die Flöte'),
        ),
        'subject': _list(
            'der Bäcker, die Ärztin, mein Großvater, meine Schwester, unser Nachbar, die Königin, ein Schüler, '
            'der junge Jäger, die Köchin, das Mädchen, der Fußballer, eine Ingenieurin, der Matrose, Onkel Viktor'
        ),
        'place': _list(
            'in der Küche, auf der Straße, im Büro, am Fluss, vor dem Schloss, hinter dem Gebäude, in München, '
            'in Köln, unter der Brücke, neben der Kirche, im Garten, auf dem Balkon, in der Schule, auf der Yacht'
        ),
        'time': _list(
            'heute, morgens, am Dienstag, im Frühling, jeden Tag, nach dem Frühstück, im März, später, '
            'zweimal im Jahr, am Wochenende, kurz vor Mitternacht'
        ),
        'tail': (
            '', '', '', '', ', und draußen regnet es', ', aber niemand weiß es', ', weil die Sonne scheint',
            ', obwohl es kälter wird', ', bevor das Taxi kommt', ', denn morgen ist ein Feiertag',
        ),
        'city': _list('Berlin, Hamburg, Düsseldorf, Frankfurt, Zürich, Leipzig, Göttingen, Quedlinburg'),
        'hour': _list('drei, vier, fünf, sechs, sieben, acht, neun, zehn, elf, zwölf'),
        'thing': _list('Flaschen Öl, Kisten Äpfel, Pakete, Blumensträuße, Gläser Honig, Säcke Kartoffeln'),
    },
    (
        '{subject} {verb} {object} {place}{tail}',
        '{subject} {verb} {time} {object} {place}',
        '{time} {verb} {subject} {object}{tail}',
        '{time} {verb} {subject} {place} {object}',
        'der Zug nach {city} fährt um {hour} Uhr ab{tail}',
        'bitte bringen Sie {hour} {thing} nach {city}',
    ),
)  # fmt: skip

RUSSIAN = Grammar(
    'абвгдеёжзийклмнопрстуфхцчшщъыьэюя',
    {
        'action': _actions(
            ('читает, пишет', 'письмо, книгу, новый рассказ, объявление, короткую сказку'),
            ('покупает, продаёт, приносит', 'свежий хлеб, жёлтые яблоки, чёрный чай, рыбу, цветы, двенадцать яиц, '
             'зубную щётку, шёлковый шарф'),
            ('ищет, находит, забывает', 'ключ, очки, синий зонт, старую карту, фотографию'),
            ('готовит, ест, пробует', 'суп, горячий борщ, кашу, овощи, щи, пирог с вишней'),
            ('рисует', 'дом, густой лес, море, белую лошадь, подъёмный кран, вход в пещеру'),
            ('слушает, поёт', 'песню, весёлую музыку, эту мелодию'),
            ('закрывает, открывает', 'окно, дверь, ящик, подъезд, магазин'),
        ),
        'subject': _list(
            'мой брат, моя сестра, наш сосед, дедушка, бабушка, учитель, молодой врач, маленькая девочка, '
            'старый рыбак, художник, почтальон, инженер, певица, этот юноша, лётчик, тётя Юля'
        ),
        'place': _list(
            'в саду, на кухне, на площади, у реки, в школе, за домом, в Москве, под мостом, в библиотеке, '
            'около вокзала, на пятом этаже, в цирке, у фонтана, на балконе'
        ),
        'time': _list(
            'сегодня, утром, каждый день, в понедельник, зимой, после обеда, поздно вечером, перед сном, '
            'в субботу, иногда, ещё до рассвета'
        ),
        'tail': (
            '', '', '', '', ', и на улице идёт дождь', ', но никто об этом не знает', ', потому что светит солнце',
            ', хотя уже темно', ', пока дети спят', ', а потом пьёт кофе',
        ),
        'city': _list('Казань, Тулу, Псков, Ярославль, Уфу, Хабаровск, Череповец, Воронеж'),
        'hour': _list('пять, шесть, семь, восемь, девять, десять, одиннадцать, двенадцать'),
        'thing': _list('бутылок масла, ящиков груш, конвертов, букетов, килограммов муки, экземпляров журнала'),
    },
    (
        '{subject} {verb} {object} {place}{tail}',
        '{subject} {time} {verb} {object} {place}',
        '{time} {subject} {verb} {object}{tail}',
        '{place} {subject} {time} {verb} {object}',
        'поезд в {city} отправляется в {hour} часов{tail}',
        'отправьте, пожалуйста, {hour} {thing} в {city}',
    ),
)  # fmt: skip

GRAMMARS = {'de': GERMAN, 'ru': RUSSIAN}


def make_sentences(language: str, count: int, rng: random.Random) -> list[str]:
    """Draws sentences, no two of them alike, with a capital at the beginning and a full stop at the end.

    Args:
      language: de or ru.
      count: number of sentences; each grammar generates more than a hundred thousand.
      rng: random generator of the choices.
    """
    grammar = GRAMMARS[language]
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        fillers = {name: rng.choice(words) for name, words in grammar.slots.items()}
        fillers['verb'], fillers['object'] = fillers.pop('action').split('|')
        sentence = rng.choice(grammar.patterns).format(**fillers)
        sentences[f'{sentence[0].upper()}{sentence[1:]}.'] = None
    return list(sentences)
