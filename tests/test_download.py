"""Downloads: resumed transfers, checksums, disk space and unpacking, against a server on this machine."""

import gzip
import hashlib
import io
import re
import shutil
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.shell import SCRIPTS_DIR, run_script, write_program

DEV = {'LibriSpeech/LICENSE.TXT': b'free', 'LibriSpeech/dev-clean/1/2/1-2.trans.txt': b'1-2-0000 YES\n'}
PROGRAMS = 'awk basename bash cat cut df dirname find flock grep gzip head md5sum mkdir mv realpath rm sed sh'.split()
PROGRAMS += 'sleep tail tar tr wc'.split()
CLIENTS = [client for client in ('curl', 'wget') if shutil.which(client)]


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; `server.cuts` transfers end early; Range is ignored if `server.resumes` is False."""

    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        data, wanted = self.server.files.get(self.path), self.headers.get('Range')
        self.server.requests.append((self.path, wanted))
        first = int(re.fullmatch(r'bytes=(\d+)-', wanted)[1]) if wanted and self.server.resumes else 0
        if data is None:
            self.send_error(404)
        elif first >= len(data):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(data)}')
            self.send_header('Content-Length', '0')
            self.end_headers()
        else:
            self.send_response(206 if first else 200)
            self.send_header('Content-Range', f'bytes {first}-{len(data) - 1}/{len(data)}')
            self.send_header('Content-Length', str(len(data) - first))
            self.end_headers()
            self.close_connection = self.server.cuts > 0
            self.server.cuts -= self.close_connection
            self.wfile.write(data[first : first + (len(data) - first) // (1 + self.close_connection)])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        running.files, running.requests, running.cuts, running.resumes = {}, [], 0, True
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive(files):
    """A .tar.gz of {name: bytes}, {name: a TarInfo without contents}."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name, contents in files.items():
            member = contents if isinstance(contents, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.name = name
            if isinstance(contents, bytes):
                member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents) if isinstance(contents, bytes) else None)
    return gzip.compress(buffer.getvalue(), mtime=0)


def link(target):
    member = tarfile.TarInfo()
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.fixture
def download(tmp_path, server):
    """Function that runs the script in a checkout whose checksums are those of the server's archives."""
    scripts = tmp_path / 'checkout' / 'scripts'
    scripts.mkdir(parents=True)
    for name in ('common.sh', 'download_corpus.sh'):
        shutil.copy(SCRIPTS_DIR / name, scripts)
    (scripts / 'convert_an4.py').symlink_to(SCRIPTS_DIR / 'convert_an4.py')

    def run(*args, sums=None, client='curl', **variables):
        published = {name: hashlib.md5(data).hexdigest() for name, data in server.files.items()} | (sums or {})
        lines = [f'{md5}  {name.lstrip("/")}\n' for name, md5 in published.items() if md5]
        (scripts / 'corpora.md5').write_text(''.join(lines))
        variables = {'MIRROR': f'http://127.0.0.1:{server.server_port}', 'PATH': only(client, tmp_path), **variables}
        return run_script(scripts / 'download_corpus.sh', tmp_path, *args, **variables)

    return run


def only(client, tmp_path):
    """A PATH with the programs that the script needs, and one client."""
    folder = tmp_path / f'path-{client}'
    folder.mkdir(exist_ok=True)
    for program in [*PROGRAMS, client]:
        if shutil.which(program) and not (folder / program).exists():
            (folder / program).symlink_to(shutil.which(program))
    return str(folder)


def contents(directory):
    """{relative path: bytes} of all files, hidden ones too."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob('*') if p.is_file()}


def last_line(result):
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize('client', CLIENTS)
def test_subsets_are_downloaded_and_unpacked_and_the_archives_deleted(client, tmp_path, server, download):
    test = {'LibriSpeech/LICENSE.TXT': b'free', 'LibriSpeech/test-other/3/4/3-4.trans.txt': b'3-4-0000 NO\n'}
    server.files = {'/dev-clean.tar.gz': archive(DEV), '/test-other.tar.gz': archive(test)}
    result = download('librispeech', 'dev-clean', 'test-other', 'my corpora', client=client)
    assert result.returncode == 0, result.stderr
    assert result.stdout == 'my corpora/LibriSpeech/dev-clean\nmy corpora/LibriSpeech/test-other\n'
    assert contents(tmp_path / 'my corpora') == DEV | test
    assert 'needs about 1.1 GB more: 730 MB unpacked, 338 MB for the largest archive' in result.stderr
    assert server.requests == [('/dev-clean.tar.gz', None), ('/test-other.tar.gz', None)]


def test_what_is_there_is_not_downloaded(tmp_path, server, download):
    (tmp_path / 'LibriSpeech/dev-clean').mkdir(parents=True)
    result = download('librispeech', 'dev-clean', '.')
    assert result.returncode == 0
    assert result.stderr == '== ./LibriSpeech/dev-clean is there already\n'
    assert server.requests == []


@pytest.mark.parametrize('client', CLIENTS)
def test_a_transfer_that_is_cut_resumes_at_the_missing_byte(client, tmp_path, server, download):
    data = archive(DEV)
    server.files, server.cuts = {'/dev-clean.tar.gz': data}, 2
    result = download('librispeech', 'dev-clean', '.', client=client)
    assert result.returncode == 0, result.stderr
    half = len(data) // 2
    second = half + (len(data) - half) // 2
    assert [wanted for _, wanted in server.requests] == [None, f'bytes={half}-', f'bytes={second}-']
    assert contents(tmp_path / 'LibriSpeech')['dev-clean/1/2/1-2.trans.txt'] == b'1-2-0000 YES\n'


def test_a_run_that_gave_up_is_resumed_by_the_next(tmp_path, server, download):
    data = archive(DEV)
    server.files = {'/dev-clean.tar.gz': data}
    (tmp_path / 'dev-clean.tar.gz.part').write_bytes(data[:100])
    result = download('librispeech', 'dev-clean', '.', TRIES='1', MIRROR='http://127.0.0.1:1')
    assert result.returncode == 1
    assert '100 bytes are kept in ./dev-clean.tar.gz.part: run the same command again' in last_line(result)
    assert download('librispeech', 'dev-clean', '.').returncode == 0
    assert server.requests == [('/dev-clean.tar.gz', 'bytes=100-')]


@pytest.mark.parametrize('client', CLIENTS)
def test_a_whole_archive_from_an_interrupted_run_is_not_transferred_again(client, tmp_path, server, download):
    server.files = {'/dev-clean.tar.gz': archive(DEV)}
    (tmp_path / 'dev-clean.tar.gz.part').write_bytes(archive(DEV))
    assert download('librispeech', 'dev-clean', '.', client=client).returncode == 0
    assert (tmp_path / 'LibriSpeech/dev-clean').is_dir()
    shutil.rmtree(tmp_path / 'LibriSpeech')
    (tmp_path / 'dev-clean.tar.gz').write_bytes(archive(DEV))
    server.requests.clear()
    assert download('librispeech', 'dev-clean', '.', client=client).returncode == 0
    assert server.requests == []


@pytest.mark.parametrize('client', CLIENTS)
def test_a_server_that_cannot_resume_sends_the_archive_again(client, tmp_path, server, download):
    data = archive(DEV)
    server.files, server.resumes = {'/dev-clean.tar.gz': data}, False
    (tmp_path / 'dev-clean.tar.gz.part').write_bytes(data[:100])
    result = download('librispeech', 'dev-clean', '.', client=client)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'LibriSpeech/dev-clean').is_dir()


def test_a_wrong_checksum_removes_the_archive(tmp_path, server, download):
    server.files = {'/dev-clean.tar.gz': archive(DEV)}
    result = download('librispeech', 'dev-clean', 'corpora', sums={'/dev-clean.tar.gz': 'f' * 32})
    assert result.returncode == 1
    actual = hashlib.md5(archive(DEV)).hexdigest()
    assert f'has the MD5 sum {actual}, the published one is {"f" * 32}; it was removed' in last_line(result)
    assert contents(tmp_path / 'corpora') == {}


def test_the_checksums_of_the_checkout_are_complete():
    lines = [line.split() for line in (SCRIPTS_DIR / 'corpora.md5').read_text().splitlines() if line[0] != '#']
    assert all(re.fullmatch('[0-9a-f]{32}', md5) for md5, _ in lines)
    subsets = re.search("SUBSETS='(.*)'", (SCRIPTS_DIR / 'download_corpus.sh').read_text())[1].split()
    assert {name for _, name in lines} == {'data_thchs30.tgz', *(f'{subset}.tar.gz' for subset in subsets)}


@pytest.mark.parametrize('client', CLIENTS)
def test_an_archive_that_the_server_lacks_is_one_line_at_once(client, tmp_path, server, download):
    result = download('thchs30', 'corpora', client=client)
    assert result.returncode == 1
    assert '/data_thchs30.tgz: HTTP status 404; is the archive there?' in last_line(result)
    assert len(server.requests) == 1 and contents(tmp_path / 'corpora') == {}


def test_a_disk_that_is_too_small_is_named_before_the_transfer(tmp_path, server, download):
    server.files = {'/dev-clean.tar.gz': archive(DEV)}
    path = only('curl', tmp_path)
    (tmp_path / 'stubs').mkdir()
    write_program(tmp_path / 'stubs/df', 'printf "Filesystem 1024-blocks Used Available\nd 9 9 500000 9 /\n"')
    result = download('librispeech', 'dev-clean', '.', PATH=f'{tmp_path}/stubs:{path}')
    assert result.returncode == 1
    assert '512 MB free, 708 MB needed' in last_line(result)
    assert server.requests == []


def test_a_disk_that_is_full_while_unpacking_leaves_the_archive_and_no_subset(tmp_path, server, download):
    server.files = {'/dev-clean.tar.gz': archive(DEV)}
    path = only('curl', tmp_path)
    (tmp_path / 'stubs').mkdir()
    tar = 'mkdir -p "$4/LibriSpeech/dev-clean"; echo "tar: x: Cannot write: No space left on device" >&2; exit 2'
    write_program(tmp_path / 'stubs/tar', tar)
    result = download('librispeech', 'dev-clean', 'corpora', PATH=f'{tmp_path}/stubs:{path}')
    assert result.returncode == 1
    assert 'not unpacked: tar: x: Cannot write: No space left on device' in last_line(result)
    assert list(contents(tmp_path / 'corpora')) == ['dev-clean.tar.gz']
    assert download('librispeech', 'dev-clean', 'corpora').returncode == 0


@pytest.mark.parametrize(
    ('name', 'member', 'complaint'),
    [
        ('LibriSpeech/../../escaped', b'x', "Member name contains '..'"),
        ('/escaped', b'x', 'it holds escaped, outside of LibriSpeech/'),
        ('LibriSpeech/dev-clean/link', link('/etc'), 'a link to /etc, outside of LibriSpeech/'),
        ('LibriSpeech/dev-clean/link', link('../../../escaped'), 'escaped, outside of LibriSpeech/'),
        ('other/file', b'x', 'it holds other, outside of LibriSpeech/'),
    ],
)
def test_an_archive_that_leaves_the_directory_is_refused(name, member, complaint, tmp_path, server, download):
    server.files = {'/dev-clean.tar.gz': archive({**DEV, name: member})}
    result = download('librispeech', 'dev-clean', 'corpora')
    assert result.returncode == 1
    assert 'not unpacked' in last_line(result) and complaint in last_line(result)
    assert list(contents(tmp_path / 'corpora')) == ['dev-clean.tar.gz']
    assert not list(tmp_path.rglob('escaped*')) and not Path('/escaped').exists()


def test_links_within_the_corpus_are_kept(tmp_path, server, download):
    files = {f'data_thchs30/{part}/a.wav': b'RIFF' for part in ('data', 'train', 'dev')}
    server.files = {'/data_thchs30.tgz': archive({**files, 'data_thchs30/test/a.wav': link('../data/a.wav')})}
    result = download('thchs30', '.')
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'data_thchs30/test/a.wav').read_bytes() == b'RIFF'


def test_an4_is_converted_to_the_layout_of_librispeech(tmp_path, server, download):
    # 50 ms for each of eleven training speakers, a00 to a10, and one test speaker
    files = {}
    for part, folder, speakers in [('train', 'an4_clstk', range(11)), ('test', 'an4test_clstk', [99])]:
        names = [f'an1-a{speaker:02}-b' for speaker in speakers]
        texts = [f'<s> YES SIX </s> ({name})\n' for name in names]
        files[f'an4/etc/an4_{part}.transcription'] = ''.join(texts).encode()
        files[f'an4/etc/an4_{part}.fileids'] = ''.join(f'{folder}/{n[4:7]}/{n}\n' for n in names).encode()
        files |= {f'an4/wav/{folder}/{n[4:7]}/{n}.raw': bytes([1, 2] * 800) for n in names}
    server.files = {'/an4_sphere.tar.gz': archive(files)}
    result = download('an4', '.', PYTHON=sys.executable, sums={'/an4_sphere.tar.gz': ''})
    assert result.returncode == 0, result.stderr
    assert 'no checksum is published for this archive' in result.stderr
    found = contents(tmp_path / 'an4')
    assert found['train-clean-100/1000/1/1000-1.trans.txt'] == b'1000-1-0000 YES SIX\n'
    assert found['test-clean/1011/1/1011-1-0000.flac'][:4] == b'fLaC'
    assert sorted(p.name for p in (tmp_path / 'an4/dev-clean').iterdir()) == [f'{n}' for n in range(1001, 1011)]


def test_a_truncated_archive_without_a_published_checksum_is_removed(tmp_path, server, download):
    server.files = {'/an4_sphere.tar.gz': archive(DEV)[:-20]}
    result = download('an4', 'corpora', PYTHON=sys.executable, sums={'/an4_sphere.tar.gz': ''})
    assert result.returncode == 1
    assert 'is not an intact gzip file' in last_line(result) and contents(tmp_path / 'corpora') == {}


@pytest.mark.parametrize(
    ('args', 'complaint'),
    [
        ([], 'name a corpus: an4, librispeech or thchs30'),
        (['timit', '.'], 'timit: name a corpus'),
        (['librispeech', '.'], 'give one or more of dev-clean'),
        (['librispeech', 'dev', '.'], 'dev is not one of dev-clean'),
        (['librispeech', 'dev-clean', 'test-clean'], 'the directory is missing after test-clean'),
        (['thchs30', 'dev', '.'], 'thchs30 takes a directory and nothing else'),
    ],
)
def test_a_wrong_command_line_is_one_line_with_status_2(args, complaint, download):
    result = download(*args)
    assert (result.returncode, result.stdout) == (2, '')
    (line,) = result.stderr.splitlines()
    assert complaint in line


def test_a_machine_without_curl_and_wget_is_told_so(download):
    result = download('thchs30', '.', client='none')
    assert result.returncode == 1
    assert result.stderr == 'download_corpus.sh: neither curl nor wget on PATH; install one of them\n'


def test_the_help_names_the_variables(download):
    result = download('--help')
    assert result.returncode == 0
    assert all(f'  {name} ' in result.stdout for name in ('MIRROR', 'TRIES', 'PYTHON'))
