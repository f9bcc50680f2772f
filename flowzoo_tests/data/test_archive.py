import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from flowzoo.data import archive

CONTENT = bytes(range(256)) * 9000
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; the first answer breaks off after a million bytes."""

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        start = 0
        if self.headers.get("Range") and self.server.knows_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start == len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        breaks = len(self.server.ranges) == 1
        self.wfile.write(CONTENT[start : 1_000_000 if breaks else None])

    def log_message(self, *args):
        pass


@pytest.fixture(params=[True, False])
def server(request):
    with http.server.HTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.ranges, server.knows_ranges = [], request.param
        server.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_download_goes_on_where_it_broke_off(server, tmp_path):
    with pytest.raises(OSError):
        archive.download(tmp_path, url=server.url, md5=MD5)
    kept = (tmp_path / "data.tar.gz.part").stat().st_size
    assert 0 < kept <= 1_000_000
    path = archive.download(tmp_path, url=server.url, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={kept}-"]
    # A part that was whole, and a file that is there.
    path.rename(tmp_path / "data.tar.gz.part")
    assert archive.download(tmp_path, url=server.url, md5=MD5).read_bytes() == CONTENT
    archive.download(tmp_path, url=server.url, md5=MD5)
    assert len(server.ranges) == 3


def test_wrong_checksum_is_refused(server, tmp_path):
    server.ranges.append(None)
    with pytest.raises(ValueError, match=f"2304000 bytes with md5 {MD5}, expected 123"):
        archive.download(tmp_path, url=server.url, md5="123")
    assert not list(tmp_path.iterdir())


def test_unpacks_single_files_and_refuses_damaged_archives(tmp_path):
    path = tmp_path / "data.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in ("data/gas/data.npy", "data/power/data.npy", "data/power/notes"):
            member = tarfile.TarInfo(name)
            content = name.encode() * 1000
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    with archive.unpacked(path, ["power/data.npy"]) as (unpacked,):
        assert unpacked.read_bytes() == b"data/power/data.npy" * 1000
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="has no hepmass/1000_train.csv: it is not the MAF"):
        with archive.unpacked(path, ["power/data.npy", "hepmass/1000_train.csv"]):
            pass
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"\(200 bytes\) is damaged or incomplete"):
        with archive.unpacked(path, ["power/data.npy"]):
            pass
