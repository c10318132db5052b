"""Downloads against a server on this machine: ranges, connections that die, wrong content, two processes."""

import subprocess
import sys
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from dpmot.data import mnist
from dpmot.data._download import ATTEMPTS, Remote, download

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


class Server(ThreadingHTTPServer):
    """Serves one file; ``dies`` holds how many bytes each next answer sends before its connection ends."""

    def __init__(self, content, *, ranges=True, dies=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.dies, self.asked = content, ranges, list(dies), []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def remote(self):
        address = f"http://127.0.0.1:{self.server_address[1]}/file.bin"
        return Remote(address, sha256(CONTENT).hexdigest(), len(CONTENT))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, given = self.server, self.headers.get("Range")
        server.asked.append(given)
        first = int(given.removeprefix("bytes=").rstrip("-")) if given and server.ranges else 0
        rest = server.content[first:]
        self.send_response(206 if given and server.ranges else 200)
        if given and server.ranges:
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.dies.pop(0)] if server.dies else rest)
        self.close_connection = True

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def serve():
    running = []

    def start(content=CONTENT, **options):
        running.append(Server(content, **options))
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_a_file_gets_its_name_only_once_it_is_whole(tmp_path, serve):
    download({tmp_path / "set" / "file.bin": serve().remote})
    assert (tmp_path / "set" / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["file.bin"]


def test_a_connection_that_dies_midway_is_taken_up_where_it_ended(tmp_path, serve):
    server = serve(dies=[100_000, 50_000])
    download({tmp_path / "file.bin": server.remote})
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_what_has_arrived_outlives_the_process_and_the_next_one_goes_on(tmp_path, serve):
    server = serve(dies=[1000] * ATTEMPTS)
    with pytest.raises(ConnectionError, match=r"5000 of 300000 bytes have arrived and are kept in file\.bin\.part"):
        download({tmp_path / "file.bin": server.remote})
    assert not (tmp_path / "file.bin").exists() and (tmp_path / "file.bin.part").read_bytes() == CONTENT[:5000]
    download({tmp_path / "file.bin": server.remote})
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=5000-" and not (tmp_path / "file.bin.part").exists()


def test_a_killed_process_leaves_what_had_arrived(tmp_path, serve):
    server = serve(dies=[200_000] + [0] * 1000)  # the connection stays silent after its first part
    address, digest, size = server.remote.address, server.remote.sha256, server.remote.size
    code = (
        "import os, sys; from pathlib import Path; from dpmot.data import _download\n"
        "_download._size = lambda part: os._exit(9) if part.exists() else 0\n"
        f"_download.download({{Path(sys.argv[1]): _download.Remote({address!r}, {digest!r}, {size})}})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file.bin")], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    assert (tmp_path / "file.bin.part").stat().st_size == 200_000
    server.dies.clear()
    download({tmp_path / "file.bin": server.remote})
    assert (tmp_path / "file.bin").read_bytes() == CONTENT and server.asked[-1] == "bytes=200000-"


def test_a_server_without_ranges_sends_the_file_from_its_start(tmp_path, serve):
    server = serve(ranges=False)
    (tmp_path / "file.bin.part").write_bytes(b"old" * 100)
    download({tmp_path / "file.bin": server.remote})
    assert (tmp_path / "file.bin").read_bytes() == CONTENT and server.asked == ["bytes=300-"]


@pytest.mark.parametrize("part", [CONTENT[:-1] + b"\x00" * 1, b"\x00" * 400_000])
def test_a_part_that_is_of_another_file_is_found_by_its_checksum_and_removed(tmp_path, serve, part):
    (tmp_path / "file.bin.part").write_bytes(part)
    with pytest.raises(ValueError, match=r"file\.bin: SHA-256 of what http.* sent is [0-9a-f]{64}, not"):
        download({tmp_path / "file.bin": serve().remote})
    assert list(tmp_path.iterdir()) == []


def test_other_content_from_the_server_is_refused_by_checksum(tmp_path, serve):
    for content in (CONTENT[::-1], CONTENT + b"more"):
        with pytest.raises(ValueError, match=r"file\.bin: SHA-256"):
            download({tmp_path / "file.bin": serve(content).remote})
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named(tmp_path):
    remote = Remote("http://127.0.0.1:9/file.bin", "0" * 64, 10)
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9/file\.bin: .*0 of 10 bytes"):
        download({tmp_path / "file.bin": remote})


def test_a_file_that_is_there_is_not_asked_for(tmp_path, serve):
    (tmp_path / "file.bin").write_bytes(b"mine")
    server = serve()
    download({tmp_path / "file.bin": server.remote})
    assert server.asked == [] and (tmp_path / "file.bin").read_bytes() == b"mine"


def test_a_file_that_is_there_needs_no_lock_beside_it(tmp_path, monkeypatch):
    (tmp_path / "file.bin").write_bytes(b"mine")  # in a folder that may only be read
    monkeypatch.setattr("dpmot.data._download.exclusive", lambda path: pytest.fail("a lock was asked for"))
    download({tmp_path / "file.bin": Remote("http://127.0.0.1:9/file.bin", "0" * 64, 10)})
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file.bin", b"mine")]


def test_two_processes_that_want_one_file_fetch_it_once(tmp_path, serve):
    server = serve()
    address, digest, size = server.remote.address, server.remote.sha256, server.remote.size
    code = (
        "import sys; from pathlib import Path; from dpmot.data._download import Remote, download; "
        f"download({{Path(sys.argv[1]): Remote({address!r}, {digest!r}, {size})}})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file.bin")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0], [process.stderr.read() for process in both]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT and server.asked == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_set_is_fetched_from_its_published_addresses(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr("dpmot.data._idx.fetch", asked.update)
    mnist.download(tmp_path)
    remote = asked[tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"]
    assert remote.address == "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz"
    assert remote.size == 4542 and len(asked) == 4
