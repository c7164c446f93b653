"""The decoding flags of the commands."""

import numpy as np
import pytest

from utils.cli import Parser
from utils.decode.decoder import add_decoding_flags, make_decoder
from utils.errors import UsageError

TOKENS = [' ', 'a', 'b']


def parse(*flags):
    parser = Parser(prog='test')
    add_decoding_flags(parser)
    return parser.parse_args(flags)


def test_greedy_is_the_default():
    assert make_decoder(parse(), TOKENS) is None
    assert make_decoder(parse('--beam_width', '0'), TOKENS) is None


@pytest.mark.parametrize(
    'flags', [['--lm_weight', '1'], ['--word_bonus', '1'], ['--lm', 'x.arpa', '--beam_width', '0']]
)
def test_flags_without_effect_are_refused(flags):
    with pytest.raises(UsageError):
        make_decoder(parse(*flags), TOKENS)


def test_a_beam_sums_over_the_paths_of_a_text():
    # the best path is blank, blank (0.36); but "a" has 0.4 · 0.4 + 2 · 0.4 · 0.6 = 0.64
    frame = np.log([1e-9, 0.4, 1e-9, 0.6])
    (hypothesis,) = make_decoder(parse('--beam_width', '4'), TOKENS)(np.array([[frame, frame]], 'f'), np.array([2]))
    assert hypothesis.ids == (1,)
    np.testing.assert_allclose(hypothesis.log_prob, np.log(0.64), rtol=1e-4)


def test_a_language_model_decides_between_equal_sounds(tmp_path):
    lm = tmp_path / 'lm.arpa'
    lm.write_text(
        '\\data\\\nngram 1=5\n\n\\1-grams:\n-9 <unk>\n-99 <s>\n-1 </s>\n-0.1 b\n-3 a\n\n\\end\\\n', encoding='utf-8'
    )
    frame = np.log([1e-9, 0.5, 0.5, 1e-9])
    (hypothesis,) = make_decoder(parse('--lm', str(lm)), TOKENS)(np.array([[frame]], 'f'), np.array([1]))
    assert [TOKENS[i] for i in hypothesis.ids] == ['b']
