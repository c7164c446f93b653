"""Command-line options that are declared as dataclass fields."""

import dataclasses
import os

import pytest

from models.config import option
from utils.cli import Parser, add_options, given_options


@dataclasses.dataclass(frozen=True)
class Options:
    count: int = option(3, '-c', low=1, group='numbers', help='utterances per batch')
    share: float | None = option(None, low=0, high=1, group='numbers', help='share of memory (default: all of it)')
    is_on: bool = option(True, '-o', '--on', help='write 100% of it')
    sizes: int = option(2, choices=(1, 2), help='size, frames')
    paths: tuple[str, ...] = option((), '-p', is_required=True, metavar='FILE', help='files')
    derived: int = 7


def parse(arguments, **settings):
    parser = Parser(prog='x')
    add_options(parser, Options, **settings)
    return given_options(parser.parse_args(arguments.split()), Options)


def test_only_what_the_command_line_gives_is_returned_in_the_type_of_its_field():
    assert parse('-p a b') == {'paths': ('a', 'b')}
    given = parse('-p a -c 5 --share 0.5 --on no --sizes 1')
    assert (given['count'], given['share'], given['is_on'], given['sizes']) == (5, 0.5, False, 1)


@pytest.mark.parametrize('wrong', ['-c 0', '--share 1.5', '--on perhaps', '--sizes 3', '--derived 1', '-c 2'])
def test_a_value_out_of_range_or_an_option_that_is_none_ends_with_status_2(wrong):
    arguments = wrong if wrong == '-c 2' else f'-p a {wrong}'  # the last one lacks -p
    with pytest.raises(SystemExit) as end:
        parse(arguments)
    assert end.value.code == 2


def test_help_has_groups_flags_and_defaults(capsys):
    with pytest.raises(SystemExit):
        parse('-h')
    shown = ' '.join(capsys.readouterr().out.split())
    for text in (
        'numbers: -c COUNT, --count COUNT utterances per batch (default: 3) --share SHARE share of memory '
        '(default: all of it)',
        '-o {yes,no}, --on {yes,no} write 100% of it (default: yes)',
        '-p FILE [FILE ...], --paths FILE [FILE ...] files',
    ):
        assert text in shown


def test_a_parser_may_take_some_of_the_options_only(capsys):
    assert parse('-c 4', only=('count',)) == {'count': 4}
    with pytest.raises(SystemExit):
        parse('--share 1', only=('count',))


@pytest.mark.parametrize('text', ['a\nb', '\x1b[2J', os.fsdecode(b'\xff')])
def test_text_that_no_file_of_the_run_can_hold_is_a_usage_error(text, capsys):
    parser = Parser(prog='x')
    parser.add_argument('-s')
    parser.add_argument('files', nargs='*')
    with pytest.raises(SystemExit) as end:
        parser.parse_args(['a', text])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f'error: files: {text!a} has control characters or is not UTF-8')
    parser.any_name = ('files',)
    assert parser.parse_args(['a', text]).files == ['a', text]
    with pytest.raises(SystemExit):
        parser.parse_args(['-s', text])


def test_a_range_that_begins_with_a_minus_belongs_to_the_flag_before_it():
    parser = Parser(prog='x')
    parser.add_argument('--gain')
    parser.add_argument('-s', action='store_true')
    parser.add_argument('files', nargs='*')
    assert parser.parse_args(['--gain', '-6:6', 'a']).gain == parser.parse_args(['--gain=-6:6']).gain == '-6:6'
    assert parser.parse_args(['-s', '--', '-6:6']).files == ['-6:6']
