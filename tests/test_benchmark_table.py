"""The benchmarks' table goes between the markers of a document and nowhere else."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / 'scripts' / 'benchmark' / 'write_table.py'
BEGIN, END = '<!-- benchmark: written by scripts/benchmark/run_all.sh -->', '<!-- end of benchmark -->'


def write(folder, document):
    (folder / 'rows').write_text('| CTC | 2.0 ms | kernel | 6.0 ms | 3.00 |\n')
    (folder / 'README.md').write_text(document)
    command = [sys.executable, str(SCRIPT), str(folder / 'rows'), str(folder / 'README.md')]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, (folder / 'README.md').read_text()


def test_a_table_replaces_the_one_that_was_there(tmp_path):
    done, text = write(tmp_path, f'before\n{BEGIN}\nold\n{END}\nafter\n')
    assert done.returncode == 0, done.stderr
    assert text.startswith(f'before\n{BEGIN}\n') and text.endswith(f'{END}\nafter\n')
    assert '| CTC | 2.0 ms | kernel | 6.0 ms | 3.00 |' in text and 'old' not in text


def test_a_document_without_markers_stays_as_it_is(tmp_path):
    done, text = write(tmp_path, 'no table here\n')
    assert done.returncode == 1 and 'no lines' in done.stderr
    assert text == 'no table here\n'


def test_the_readme_of_the_benchmarks_has_the_markers():
    text = (SCRIPT.parent / 'README.md').read_text()
    assert text.count(BEGIN) == text.count(END) == 1
