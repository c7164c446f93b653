"""One-line messages and exit statuses for expected failures."""

import pytest

from utils.errors import run_main


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
