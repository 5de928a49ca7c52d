"""Installing: the Python that is found, the lock, Colab, conda, the wheel, the address."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import metadata
import pytest
import wheel_env
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = ("3.11", "3.12", "3.13")


# The Python that the Makefile takes


def shim(folder, name, says):
    """A program that answers as a Python does, or fails as a version manager's shim does."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + (f"echo '{says}'\n" if says else "echo no >&2; exit 127\n"))
    path.chmod(0o755)


def find_python(*folders, **environment):
    path = ":".join(map(str, folders))
    return subprocess.run(
        ["/bin/sh", ROOT / "tools/python.sh"],
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(found, message):
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    assert message in found.stderr


def test_the_newest_python_that_runs_is_found(tmp_path):
    shim(tmp_path, "python3.13", None)
    shim(tmp_path, "python3.12", "3.12 True /twelve")
    shim(tmp_path, "python3.11", "3.11 True /eleven")
    shim(tmp_path, "python3", "3.14 True /fourteen")
    assert find_python(tmp_path).stdout == "/twelve\n"


def test_a_python_behind_a_broken_shim_of_the_same_name_is_found(tmp_path):
    shim(tmp_path / "shims", "python3.13", None)
    shim(tmp_path / "with a space", "python3.13", "3.13 True /with a space/python3.13")
    found = find_python(tmp_path / "shims", tmp_path / "with a space")
    assert found.stdout == "/with a space/python3.13\n"


def test_an_unversioned_python_is_found_if_it_is_new_enough(tmp_path):
    shim(tmp_path, "python3", "3.10 True /ten")
    shim(tmp_path, "python", "3.13 True /thirteen")
    assert find_python(tmp_path).stdout == "/thirteen\n"


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_other_pythons_are_refused(tmp_path, version):
    shim(tmp_path, "python3", f"{version} True /other")
    assert_refused(find_python(tmp_path), "No Python 3.11, 3.12 or 3.13 runs here")


def test_a_python_without_venv_is_named_unless_another_has_it(tmp_path):
    shim(tmp_path, "python3.12", "3.12 False /twelve")
    assert_refused(find_python(tmp_path), "Python 3.12 (/twelve) has no venv module")
    shim(tmp_path, "python3.11", "3.11 True /eleven")
    assert find_python(tmp_path).stdout == "/eleven\n"


def test_the_python_asked_for_is_taken_or_refused(tmp_path):
    shim(tmp_path, "python3.13", "3.13 True /thirteen")
    shim(tmp_path, "mine", "3.11 True /mine")
    shim(tmp_path, "old", "3.10 True /old")
    shim(tmp_path, "bare", "3.12 False /bare")
    assert find_python(tmp_path, PYTHON="mine").stdout == "/mine\n"
    assert_refused(find_python(tmp_path, PYTHON="old"), "PYTHON=old is Python 3.10")
    assert_refused(find_python(tmp_path, PYTHON="bare"), "Python 3.12 (/bare) has no venv module")
    assert_refused(find_python(tmp_path, PYTHON="none"), "PYTHON=none does not run")


# The steps of the Makefile


def step(folder, command):
    return subprocess.run(
        ["sh", ROOT / "tools/step.sh", "a step", "do this", "sh", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_step_is_one_line_and_what_a_test_runner_says_last(tmp_path):
    done = step(tmp_path, "echo much; echo '2 passed in 1s'")
    assert done.returncode == 0
    assert re.fullmatch(r"a step \.\.\. \d+ s\n2 passed in 1s\n", done.stdout)
    assert (tmp_path / "_build/logs/a-step.log").read_text() == "much\n2 passed in 1s\n"


def test_a_step_that_fails_says_what_to_do(tmp_path):
    done = step(tmp_path, "echo the reason >&2; exit 3")
    assert done.returncode == 1
    assert done.stderr == (
        "the reason\na step failed: do this (all output: _build/logs/a-step.log)\n"
    )


# The lock


def read_lock(path=ROOT / "requirements/lock.txt"):
    """Each requirement of the lock, with the lines of its hashes."""
    entries = re.findall(r"^(\S.*?) \\\n((?:    .*\n)+)", path.read_text("utf8"), re.MULTILINE)
    return [(Requirement(requirement), hashes) for requirement, hashes in entries]


def locked(python=None, platform=sys.platform):
    """The version of each package that the lock installs on a Python, by default this one."""
    here = {"sys_platform": platform}
    if python:
        here |= {"python_version": python, "python_full_version": f"{python}.9"}
    versions = {}
    for requirement, _ in read_lock():
        if requirement.marker is None or requirement.marker.evaluate(here):
            assert requirement.name not in versions, f"{requirement.name} is there twice"
            (specifier,) = requirement.specifier
            versions[requirement.name] = specifier.version
    return versions


def direct_requirements():
    groups = PROJECT["dependencies"], EXTRAS["book"], PYPROJECT["dependency-groups"]["dev"]
    return [Requirement(text) for group in groups for text in group]


def test_every_package_of_the_lock_has_hashes_and_nothing_names_a_host():
    text = (ROOT / "requirements/lock.txt").read_text("utf8")
    entries = read_lock()
    assert len(entries) == len(re.findall(r"^\S", text, re.MULTILINE))
    for requirement, hashes in entries:
        assert [s.operator for s in requirement.specifier] == ["=="]
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", hashes)
    assert "://" not in text
    assert "index-url" not in text


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_lock_satisfies_pyproject(python, platform):
    versions = locked(python, platform)
    for requirement in direct_requirements():
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier
    assert versions["jax"] == versions["jaxlib"]


def test_jax_that_is_known_to_be_bad_is_excluded():
    (jax,) = (r for r in direct_requirements() if r.name == "jax")
    for version in ("0.7.1", "0.9.1", "0.9.2", "0.10.0", "0.10.1", "0.10.2", "0.11.1"):
        assert version not in jax.specifier


def test_the_lock_holds_what_is_needed_and_nothing_else():
    needed, waiting = set(), direct_requirements()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {extra for n, extra in needed if n == name}:
            needed.add((name, extra))
            dependencies = map(Requirement, importlib.metadata.requires(name) or ())
            waiting += [
                d for d in dependencies if not d.marker or d.marker.evaluate({"extra": extra})
            ]
    assert {name for name, _ in needed} == set(locked())


def test_set_up_begins_with_the_uv_of_the_lock():
    ((requirement, hashes),) = read_lock(ROOT / "requirements/uv.txt")
    assert (requirement, hashes) in read_lock()


# Colab and conda


def fake_installed(folder):
    """Distributions with the names and versions that Colab ships, and nothing in them."""
    text = (ROOT / "requirements/colab.txt").read_text("utf8")
    pins = dict(re.findall(r"^(\S+)==(\S+)$", text, re.MULTILINE))
    for name, version in pins.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return pins


def resolve(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode and re.search("connection|dns error|timed out", done.stderr, re.IGNORECASE):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.network
def test_pip_replaces_nothing_that_colab_ships(tmp_path):
    venv.create(tmp_path / "env")
    (site_packages,) = (tmp_path / "env/lib").glob("python*/site-packages")
    pins = fake_installed(site_packages)
    resolve(
        *("pip", "--python", tmp_path / "env/bin/python", "install", "--dry-run", "--retries", "0"),
        *("--report", tmp_path / "report.json", *PROJECT["dependencies"], *EXTRAS["book"]),
    )
    report = json.loads((tmp_path / "report.json").read_text("utf8"))
    installed = {canonicalize_name(item["metadata"]["name"]) for item in report["install"]}
    assert "jaxtyping" in installed
    assert not installed & pins.keys()


@pytest.mark.network
def test_colab_s_versions_can_be_held_on_its_python(tmp_path):
    pins = fake_installed(tmp_path)
    assert pins["jax"] == pins["jaxlib"] == "0.7.2"
    done = resolve(
        *("uv", "pip", "install", "--dry-run", "--python-version", "3.13"),
        *("--python-platform", "x86_64-manylinux_2_28", "--target", tmp_path),
        *("--constraint", "requirements/colab.txt", ".[book]"),
    )
    changes = re.findall(r"^ ([+~-]) (\S+?)[= ]", done.stderr, re.MULTILINE)
    assert ("+", "ntkbook") in changes
    assert not [name for sign, name in changes if sign != "+" or name in pins]


def test_conda_installs_the_book_extra_on_a_supported_python():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text("utf8"))["dependencies"]
    (python,) = (d for d in dependencies if str(d).startswith("python="))
    assert python.removeprefix("python=") in PYTHONS
    (pip,) = (d["pip"] for d in dependencies if isinstance(d, dict))
    assert pip == ["-e .[book]"]
    assert "pip" in dependencies


# The wheel


@pytest.mark.parametrize("change", [None, "missing", "surplus"])
def test_a_wheel_that_lacks_a_file_or_has_one_too_many_is_refused(tmp_path, monkeypatch, change):
    monkeypatch.setattr(wheel_env, "ROOT", tmp_path)
    (tmp_path / "ntkbook/live").mkdir(parents=True)
    (tmp_path / "ntkbook/live/figure.js").touch()
    info = "ntkbook-0.1.0.dist-info"
    names = ["METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt"]
    files = ["ntkbook/live/figure.js"] + [f"{info}/{name}" for name in names]
    files = {None: files, "missing": files[1:], "surplus": [*files, "tests/test.py"]}[change]
    wheel = Path("ntkbook-0.1.0-py3-none-any.whl")
    with zipfile.ZipFile(tmp_path / wheel, "w") as archive:
        for file in files:
            archive.writestr(file, "")
    if change is None:
        wheel_env.check(wheel)
    else:
        with pytest.raises(SystemExit, match=r"figure\.js|tests/test\.py"):
            wheel_env.check(wheel)


# The address, which stands once


def test_the_address_stands_in_pyproject_and_in_what_is_made_from_it():
    address = PROJECT["urls"]["Repository"].removeprefix("https://")
    owner = address.split("/")[1]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in set(listed.stdout.splitlines()) - {"pyproject.toml", "CITATION.cff"}:
        path = ROOT / name
        if (
            name.startswith("tests/")
            or path.suffix in (".ipynb", ".npz", ".png")
            or not path.is_file()
        ):
            continue
        text = metadata.BLOCK.sub("", path.read_text("utf8"))
        assert address not in text, f"{name} names the repository's address"
        assert f"{owner}.github.io" not in text, f"{name} names the pages' address"


@pytest.fixture
def moved(tmp_path):
    """The files that hold or take the address, with another address."""
    for name in ("_config.yml", "_toc.yml", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    page = tmp_path / "chapters/part/page.md"
    page.parent.mkdir(parents=True)
    page.write_text("# A page\n")
    toml = (tmp_path / "pyproject.toml").read_text("utf8")
    address = PROJECT["urls"]["Repository"]
    (tmp_path / "pyproject.toml").write_text(toml.replace(address, "https://github.com/me/mine"))
    (tmp_path / "README.md").write_text(
        "before\n<!-- address:begin colab -->\n<!-- address:end -->\nafter\n"
    )
    return tmp_path


def test_citation_and_readme_follow_the_address(moved, capsys):
    assert metadata.main(["check"], moved) == 1
    assert "CITATION.cff is not in step" in capsys.readouterr().out
    assert metadata.main(["write"], moved) == 0
    assert metadata.main(["check"], moved) == 0
    version = PROJECT["version"]
    assert (moved / "README.md").read_text() == (
        "before\n<!-- address:begin colab -->\n- [A page](https://colab.research.google.com/"
        f"github/me/mine/blob/v{version}/chapters/part/page.ipynb)\n<!-- address:end -->\nafter\n"
    )
    citation = yaml.safe_load((moved / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == version
    assert citation["repository-code"] == "https://github.com/me/mine"
    assert citation["authors"]
    assert citation["message"]


def test_an_unknown_block_of_the_readme_is_refused(moved, capsys):
    (moved / "README.md").write_text("<!-- address:begin other -->\n<!-- address:end -->\n")
    assert metadata.main(["write"], moved) == 1
    assert "README.md: no address block other; there are" in capsys.readouterr().err


def test_a_version_without_its_heading_in_the_changelog_is_refused(moved, capsys):
    (moved / "CHANGELOG.md").write_text("# Changelog\n")
    assert metadata.main(["check"], moved) == 1
    assert "CHANGELOG.md: no line" in capsys.readouterr().err
