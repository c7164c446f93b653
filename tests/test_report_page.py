"""The page of a test: figures, alignments, players; hostile texts; a look at it with a browser."""

import json
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from tests.browsers import chromium
from tests.indexes import make_index
from utils.data.sources import Source
from utils.data.vocabulary import Vocabulary
from utils.decode.hypothesis import Hypothesis
from utils.metrics import score
from utils.recognition.comparison import Comparison
from utils.recognition.error_analysis import ErrorAnalysis, Group
from utils.recognition.pages import Pages
from utils.recognition.report import Evaluation
from utils.recognition.report_charts import rate_chart
from utils.recognition.report_page import ScoredIndex, write_pages

HOSTILE = [
    '<script>document.title="run"</script>',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '</style><script src="//evil.example/x.js"></script>',
    '&lt;b&gt; &amp; ]]> <!-- -->',
    '\x00\x07\x1b[31m\u2028\ud800\u202e',
    'javascript:alert(1) $run ${name} %s {0}',
]
VOID = {'meta', 'line', 'circle', 'polyline', 'img', 'br', 'link'}


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; fails where elements are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.text = [], [], ''
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != 'style':
            self.text += data

    def of(self, tag):
        return [attributes for each, attributes in self.elements if each == tag]

    def of_class(self, name):
        return [tag for tag, attributes in self.elements if name in (attributes.get('class') or '').split()]


def scored(tmp_path, references, texts, sources=None, other=None, has_words=True, name='dev'):
    index = make_index(tmp_path, [(100, 'a')] * len(references))
    scores = score(references, texts, has_words)
    hypotheses = [Hypothesis((), -1.0, ())] * len(texts)
    analysis = ErrorAnalysis.of(Evaluation(index.keys, references, hypotheses, texts, scores))
    comparison = Comparison.of(analysis, other, 'OTHER <b>') if other else None
    return ScoredIndex(name, index, sources or [Source()] * len(texts), analysis, comparison)


def page_of(tmp_path, *args, **kwargs):
    (path,) = write_pages([scored(tmp_path, *args, **kwargs)], tmp_path, 'runs/<i>', {'checkpoint': 'best', 'lm': None})
    assert path == tmp_path / 'dev' / 'report.html'
    return Parsed(path.read_text(encoding='utf-8'))


def test_page_shows_rates_edits_and_decoding(tmp_path):
    page = page_of(tmp_path, ['the cat sat', 'on'], ['the bat', 'on'])
    for text in ('50.00 %', '1 S, 1 D, 0 I', '1 of 2', 'Decoding: checkpoint best.', 'runs/<i>'):
        assert text in page.text
    assert [page.of_class(sign) for sign in 'SDI'] == [['span'] * 2, ['span'] * 2, ['span']]  # one of each is the key's
    assert 'cat → bat' in page.text


def test_edits_are_marked_by_letters_besides_colours(tmp_path):
    page = page_of(tmp_path, ['the cat sat'], ['the bat sat up'])
    assert [each['title'] for each in page.of('span') if 'title' in each] == ['substitution', 'insertion']
    assert 'theSbat' not in page.text and 'catSbat' in page.text and 'Iup' in page.text


def test_page_without_errors_has_no_empty_sections(tmp_path):
    page = page_of(tmp_path, ['a b'], ['a b'])
    assert 'Worst' not in page.text and 'Confusions' not in page.text and 'Speakers' not in page.text


@pytest.mark.parametrize(('references', 'texts'), [([''], ['']), ([''], ['a']), (['a'], [''])])
def test_empty_texts_have_a_page(tmp_path, references, texts):
    page = page_of(tmp_path, references, texts)
    assert ('Worst' in page.text) == (references != texts) and 'nan' not in page.text and 'inf' not in page.text


def test_texts_without_words_lead_with_characters(tmp_path):
    page = page_of(tmp_path, ['绿是阳春'], ['绿是杨春'], has_words=False)
    assert 'CER25.00 %' in page.text.replace('\n', '') and 'WER' not in page.text
    assert '阳 → 杨' in page.text and 'Words' not in page.text


def test_speakers_and_indexes_are_listed_and_linked(tmp_path):
    sources = [Source('anna'), Source('<bob>')]
    tests = [scored(tmp_path, ['a', 'b'], ['a', 'x'], sources, name=name) for name in ('dev', 'test "#1"')]
    paths = write_pages(tests, tmp_path, 'run', {})
    page = Parsed(paths[0].read_text(encoding='utf-8'))
    assert [unquote(each['href']) for each in page.of('a')] == ['../test "#1"/report.html']
    assert (paths[0].parent / unquote(page.of('a')[0]['href'])).resolve() == paths[1].resolve()
    assert page.text.index('<bob>') < page.text.index('anna') and '2 speakers' in page.text


def test_players_are_there_for_recordings_that_are_there(tmp_path):
    folder = tmp_path / 'wav "1"&#?%'
    folder.mkdir()
    soundfile.write(folder / 'a:b.flac', np.zeros(1600), 16000)
    there, gone = str(folder / 'a:b.flac'), str(folder / 'none.flac')
    sources = [Source('', there), Source('', there, 1.5, 2.25), Source('', gone)]
    page = page_of(tmp_path, ['a', 'b', 'c'], ['x', 'x', 'x'], sources)
    links = [each['src'] for each in page.of('audio')]
    assert [link.partition('#')[2] for link in links] == ['', 't=1.5,2.25']
    paths = {(tmp_path / 'dev' / unquote(link.partition('#')[0])).resolve() for link in links}
    assert paths == {(folder / 'a:b.flac').resolve()}
    assert '1 recording missing where the index has them' in page.text
    assert 'does not name all recordings' in page_of(tmp_path, ['a'], ['x']).text


def test_comparison_shows_the_verdict_and_both_alignments(tmp_path):
    page = page_of(tmp_path, ['the cat', 'on'], ['the bat', 'on'], other=['a cat up', 'on'])
    assert 'WER 33.33 % here, 66.67 % in OTHER <b>: -33.33 points' in page.text
    assert 'The difference is not significant (matched pairs, p = 1.000, 1 segments)' in page.text
    assert 'this run' in page.text and 'theSa' in page.text and 'Iup' in page.text
    assert '1 fewer error here' in page.text


def test_hostile_texts_make_no_elements_or_attributes(tmp_path):
    usual = page_of(tmp_path, ['a b'] * 7, ['a c'] * 7, [Source('s')] * 7, other=['b'] * 7)
    page = page_of(tmp_path, HOSTILE, HOSTILE[::-1], [Source(text) for text in HOSTILE], HOSTILE)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in usual.elements} | {'bdi'}
    names = {name for _, attributes in page.elements for name in attributes}
    assert names <= {name for _, attributes in usual.elements for name in attributes} | {'title'}
    assert not [name for name in names if name.startswith('on')]
    assert page.of('meta')[1]['content'].startswith("default-src 'none'; script-src 'none'")
    for shown in ('<script>document.title="run"</script>', '\\x00\\x07\\x1b[31m\\x2028\\xd800', '${name}'):
        assert shown in page.text
    assert '\x00' not in page.text and '\x1b' not in page.text


def test_page_of_many_utterances_and_speakers_is_small(tmp_path):
    rng, words = np.random.default_rng(1), np.array([f'word{number}' for number in range(2000)])
    references = [' '.join(row) for row in rng.choice(words, (5000, 12))]
    texts = [text.replace('1', '2', 1) if number % 3 else text + ' up' for number, text in enumerate(references)]
    index = make_index(tmp_path, [(9, 'a')]).take(np.zeros(len(texts), int))
    analysis = ErrorAnalysis.of(
        Evaluation(index.keys, references, [Hypothesis((), -1.0, ())] * len(texts), texts, score(references, texts))
    )
    sources = [Source(f'speaker {number % 3000}') for number in range(len(texts))]
    (path,) = write_pages([ScoredIndex('dev', index, sources, analysis)], tmp_path, 'run', {})
    assert path.stat().st_size < 1_000_000
    assert 'The 200 speakers of 3,000 with the highest rates.' in path.read_text(encoding='utf-8')


def test_one_endless_utterance_makes_a_small_page(tmp_path):
    page_of(tmp_path, ['a ' * 3000 + 'x' * 10_000], ['b ' * 3000 + 'y' * 10_000])
    assert (tmp_path / 'dev/report.html').stat().st_size < 100_000


def test_axes_of_charts_hold_all_intervals():
    counts = score(['a b'], ['a c']).words
    bins = [('1', Group('', 3, counts, (0.2, 0.8))), ('2–3', Group('', 1, counts, None))]
    chart = Parsed(rate_chart(bins, 0.5, 'WER', 'words'))
    lines = [each for each in chart.of('line') if each['class'] == 'interval']
    assert len(lines) == 1 and 0 < float(lines[0]['y2']) < float(lines[0]['y1']) < 210
    assert len(chart.of('circle')) == 2 and '2–3' in chart.text


def test_comparison_without_a_page_is_printed_alone(tmp_path, capsys):
    each = scored(tmp_path, ['a b'], ['a b'])
    pages = Pages({'dev': each.index}, {}, ('OTHER', {'dev': ['a x']}))
    pages.write({'dev': each.analysis.result}, tmp_path / 'out', 'run', {})
    assert capsys.readouterr().out == (
        'dev: WER 0.00 % here, 50.00 % in OTHER: -50.00 points. '
        'The difference is not significant (matched pairs, p = 1.000, 1 segments)\n'
    )
    assert not (tmp_path / 'out').exists()
    assert Pages.prepare({'dev': each.index}, Vocabulary.english(), True, None).sources == {'dev': [Source()]}


@pytest.fixture
def browser():
    with chromium() as driver:
        yield driver


def test_browser_opens_the_page_without_network_errors_or_scripts(browser, tmp_path):
    soundfile.write(tmp_path / 'a #1.flac', np.zeros(16000), 16000)
    sources = [Source(text, str(tmp_path / 'a #1.flac'), 0.25, 0.75) for text in HOSTILE]
    page_of(tmp_path, HOSTILE, HOSTILE[::-1], sources, HOSTILE)
    phone = {'width': 390, 'height': 800, 'deviceScaleFactor': 1, 'mobile': True}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', phone)
    browser.get((tmp_path / 'dev' / 'report.html').as_uri())
    play = 'const done = arguments[0], audio = document.querySelector("audio"); audio.onerror = () => done("error");'
    assert browser.execute_async_script(f'{play} audio.oncanplay = () => done(audio.duration); audio.load()') == 1
    events = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    urls = [each['params']['request']['url'] for each in events if each['method'] == 'Network.requestWillBeSent']
    assert urls and all(url.startswith(('file:///', 'data:')) for url in urls)  # data: icons of the player
    assert browser.get_log('browser') == []
    assert browser.title.startswith('dev: WER ')
    assert browser.execute_script('return document.scripts.length') == 0
    assert browser.execute_script('return document.documentElement.scrollWidth') <= 390  # no sideways scrolling
