"""One-line messages and exit statuses for expected failures."""

import os
import subprocess
import sys

import pytest

from tests.processes import ROOT
from utils.errors import DataError, run_main


def importing(name):
    def main():
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    return main


def test_a_library_that_is_not_installed_is_one_line_with_the_remedy(capsys):
    assert run_main(importing('soundfile')) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'has no module soundfile' in line and 'pip install -r requirements.txt' in line


def test_a_module_of_the_project_that_is_not_there_is_no_users_mistake():
    with pytest.raises(ModuleNotFoundError):
        run_main(importing('utils.nowhere'))


@pytest.mark.parametrize(
    ('encoding', 'expected'),
    [
        ('utf-8', 'héllo 你好 '.encode() + b'\xff.wav'),
        ('latin-1', b'h\xe9llo \\u4f60\\u597d \xff.wav'),
        ('ascii', b'h\\xe9llo \\u4f60\\u597d \xff.wav'),
    ],
)
def test_a_terminal_that_lacks_characters_gets_them_escaped_and_file_names_as_they_are(encoding, expected):
    code = (
        'import sys; from utils.errors import DataError, run_main\n'
        'def main():\n'
        '    print(text := "h\\u00e9llo \\u4f60\\u597d \\udcff.wav")\n'
        '    raise DataError(text)\n'
        'sys.exit(run_main(main))'
    )
    environment = {**os.environ, 'PYTHONIOENCODING': encoding}
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=environment, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, expected + b'\n', b'error: ' + expected + b'\n')


def test_closed_streams_are_no_error():
    code = 'import sys; from utils.errors import run_main; sys.exit(run_main(lambda: print("text") or 0))'
    assert subprocess.run(['sh', '-c', f'"{sys.executable}" -c \'{code}\' >&- 2>&-'], cwd=ROOT).returncode == 0


def test_a_message_is_one_line_whatever_names_it_holds(capsys):
    def main():
        raise DataError('a\x1b[2J\nb.json: damaged')

    assert run_main(main) == 1
    assert capsys.readouterr().err == 'error: a\\x1b[2J\\nb.json: damaged\n'
