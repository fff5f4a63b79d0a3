import functools
import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from mentorch import RunError, UsageError
from mentorch.data import fetch, load
from mentorch.data._find import cache_folder
from mentorch.data._sources import SOURCES


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of our own; returns its folder and address."""
    monkeypatch.setenv("NO_PROXY", "*")
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def offer(monkeypatch, name: str, folder, address: str) -> None:
    """Let the data set be downloaded from the folder of the server, and be nowhere else."""
    files = [url.rsplit("/", 1)[1] for url, _ in SOURCES[name].downloads]
    downloads = tuple((f"{address}/{f}", hashlib.sha256((folder / f).read_bytes()).hexdigest()) for f in files)
    monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], downloads=downloads, system=()))


def test_a_download_is_found_by_load(clean, server, monkeypatch, write_idx):
    folder, address = server
    write_idx(folder, packed=True)
    offer(monkeypatch, "mnist", folder, address)
    data = load("mnist", download=True)
    assert len(data.train) + len(data.validation) == 40
    assert sorted(p.name for p in (cache_folder() / "mnist").iterdir()) == sorted(p.name for p in folder.iterdir())


def test_a_tarball_is_downloaded_once(clean, server, monkeypatch, write_cifar):
    folder, address = server
    write_cifar(folder, tarball=True)
    offer(monkeypatch, "cifar10", folder, address)
    assert fetch("cifar10", clean) == clean / "cifar10"
    (folder / "cifar-10-binary.tar.gz").unlink()  # a second download would fail
    assert fetch("cifar10", clean) == clean / "cifar10"
    assert load("cifar10", root=clean).train.images.shape == (90, 3, 32, 32)


def test_nothing_is_downloaded_unasked(clean, monkeypatch):
    monkeypatch.setattr("mentorch.data._load.fetch", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(UsageError, match="mentorch data fetch svhn"):
        load("svhn", root=clean)


def test_what_is_there_is_not_downloaded(clean, monkeypatch, write_svhn):
    monkeypatch.setattr("mentorch.data._load.fetch", lambda *_: pytest.fail("downloaded"))
    write_svhn(clean)
    assert load("svhn", root=clean, download=True).classes == tuple("0123456789")


def test_a_wrong_checksum_leaves_nothing_behind(clean, server, monkeypatch, write_svhn):
    folder, address = server
    write_svhn(folder)
    offer(monkeypatch, "svhn", folder, address)
    (folder / "train_32x32.mat").write_bytes(b"something else")
    with pytest.raises(RunError, match=r"cannot download .*train_32x32.mat .*: put train_32x32.mat into") as caught:
        fetch("svhn", clean)
    assert "\n" not in str(caught.value)
    assert not list((clean / "svhn").iterdir())


def test_a_missing_file_is_one_line(clean, server, monkeypatch, write_svhn):
    folder, address = server
    write_svhn(folder)
    offer(monkeypatch, "svhn", folder, address)
    (folder / "test_32x32.mat").unlink()
    with pytest.raises(RunError, match=r"cannot download .*test_32x32.mat \(404") as caught:
        fetch("svhn", clean)
    assert "\n" not in str(caught.value)


def test_a_closed_network_is_one_line(clean, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    closed = tuple(("http://127.0.0.1:9/" + url.rsplit("/", 1)[1], sha) for url, sha in SOURCES["svhn"].downloads)
    monkeypatch.setitem(SOURCES, "svhn", replace(SOURCES["svhn"], downloads=closed))
    with pytest.raises(RunError, match="cannot download") as caught:
        fetch("svhn", clean)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_folder_that_cannot_be_made_is_one_line(clean, monkeypatch):
    (clean / "svhn").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot download"):
        fetch("svhn", clean)


def test_progress_is_drawn_when_somebody_watches(clean, server, monkeypatch, write_svhn):
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    folder, address = server
    write_svhn(folder)
    offer(monkeypatch, "svhn", folder, address)
    fetch("svhn", clean)
    assert "test_32x32.mat" in screen.getvalue()


def test_what_needs_no_download_says_so():
    for name in ("digits", "folder:photos"):
        with pytest.raises(UsageError, match="needs no download"):
            fetch(name)
    with pytest.raises(UsageError, match="unknown data set 'minst': did you mean 'mnist'"):
        fetch("minst")
