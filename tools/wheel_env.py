"""Build the wheel, check what it holds, and install it as a reader would, into _build/wheel-env.

    python tools/wheel_env.py

That environment holds the wheel with its `book` extra, nbval and pytest-xdist, at the versions of
the lock, and nothing else: a dependency that the wheel does not declare is missing there.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
DIST = Path("_build/dist")
ENV = Path("_build/wheel-env")
PYTHON = ENV / "bin/python"
UV = (sys.executable, "-m", "uv")
TESTING = ("nbval", "pytest-xdist")


def run(*command: str | Path) -> bool:
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def build() -> Path:
    shutil.rmtree(ROOT / DIST, ignore_errors=True)
    # By way of the source distribution: files left behind in build/ cannot get into the wheel.
    options = ("--quiet", "--no-build-isolation", "--offline", "--python", sys.executable)
    if not run(*UV, "build", *options, "--out-dir", DIST):
        sys.exit("the wheel cannot be built: mend pyproject.toml")
    (wheel,) = (ROOT / DIST).glob("*.whl")
    return wheel.relative_to(ROOT)


def check(wheel: Path) -> None:
    """Stop unless the wheel holds the files of ntkbook/, its metadata, and nothing else."""
    files = (ROOT / "ntkbook").rglob("*")
    package = {f.relative_to(ROOT).as_posix() for f in files if f.is_file() and f.suffix != ".pyc"}
    name, version, *_ = wheel.name.split("-")
    metadata = ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt")
    expected = package | {f"{name}-{version}.dist-info/{file}" for file in metadata}
    held = set(ZipFile(ROOT / wheel).namelist())
    if held != expected:
        missing, surplus = sorted(expected - held), sorted(held - expected)
        sys.exit(f"the wheel lacks {missing} and has {surplus} too many: mend pyproject.toml")


def install(wheel: Path) -> None:
    stamp = ENV / "made-from"  # written when all is installed
    inputs = [(ROOT / name).read_bytes() for name in ("requirements/lock.txt", "pyproject.toml")]
    state = f"{sys.version} {ROOT} {TESTING} {hashlib.sha256(b''.join(inputs)).hexdigest()}"
    to = ("--python", PYTHON)
    if (ROOT / stamp).is_file() and (ROOT / stamp).read_text() == state:
        if not run(*UV, "pip", "install", *to, "--offline", "--no-deps", "--reinstall", wheel):
            sys.exit(f"the wheel cannot be installed: remove {ENV} and try again")
        return
    shutil.rmtree(ROOT / ENV, ignore_errors=True)
    # Without their hashes, which would ask for the hash of the wheel too.
    pins = re.findall(r"^[\w.-]+==[^\\\n]*", (ROOT / "requirements/lock.txt").read_text(), re.M)
    constraints = Path("_build/constraints.txt")
    (ROOT / constraints).write_text("\n".join(pins) + "\n")
    wanted = ("--constraint", constraints, f"{wheel}[book]", *TESTING)
    # Set-up has left all of it in uv's cache, or, where uv finds no index, in pip's.
    if not run(*UV, "venv", "--python", sys.executable, ENV) or not (
        run(*UV, "pip", "install", *to, "--offline", *wanted)
        or run(*UV, "pip", "install", *to, *wanted)
        or run(sys.executable, "-m", "pip", *to, "install", *wanted)
    ):
        sys.exit("the wheel and its dependencies cannot be installed: connect to the network")
    (ROOT / stamp).write_text(state)


if __name__ == "__main__":
    wheel = build()
    check(wheel)
    install(wheel)
