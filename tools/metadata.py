"""What repeats pyproject.toml: CITATION.cff, and in the README the lines that hold an address.

    python tools/metadata.py write     write CITATION.cff and fill the README's blocks
    python tools/metadata.py check     exit 1 unless they are in step

A block of the README is what stands between `<!-- address:begin NAME -->` and
`<!-- address:end -->`, where NAME is one of read, colab, commands, gpu and cite.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "_ext"))

from book_project import bibtex, read_project  # noqa: E402

BLOCK = re.compile(r"<!-- address:begin (\w+) -->\n.*?<!-- address:end -->", re.DOTALL)


def citation(root: Path) -> str:
    """The text of CITATION.cff."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]
    where = read_project(root)
    fields = {
        "cff-version": "1.2.0",
        "message": "To cite this book or its package, please use these data.",
        "type": "software",
        "title": _config(root)["title"],
        "authors": [{"name": author["name"]} for author in project["authors"]],
        "version": project["version"],
        "date-released": _release_date(root, project["version"]),
        "license": [project["license"], "CC-BY-4.0"],
        "repository-code": where.repository,
        "url": where.pages,
        "keywords": project["keywords"],
    }
    origin = "# Made from pyproject.toml, _config.yml and CHANGELOG.md by `make notebooks`.\n"
    return origin + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def readme(root: Path) -> str:
    """The README with its blocks filled."""
    where, config = read_project(root), _config(root)
    blocks = {
        "read": f"Read it at <{where.pages}>.",
        "colab": "\n".join(
            f"- [{_heading(path)}]({where.colab}{path.relative_to(root).with_suffix('.ipynb')})"
            for path in _in_reading_order(root)
        ),
        "commands": (
            f"```console\ngit clone {where.repository}\ncd {where.repository.rpartition('/')[2]}\n"
            "make book\nmake test\n```"
        ),
        "gpu": (
            "```console\n"
            f'pip install "ntkbook[book,cuda] @ git+{where.repository}@{where.tag}"\n```'
        ),
        "cite": bibtex(where, config["title"], config["copyright"]),
    }

    def fill(match):
        name = match[1]
        if name not in blocks:
            raise ValueError(f"README.md: no address block {name}; there are {', '.join(blocks)}")
        return f"<!-- address:begin {name} -->\n{blocks[name]}\n<!-- address:end -->"

    return BLOCK.sub(fill, (root / "README.md").read_text("utf8"))


def _config(root):
    return yaml.safe_load((root / "_config.yml").read_text("utf8"))


def _in_reading_order(root):
    toc = (root / "_toc.yml").read_text("utf8")
    name = lambda path: path.relative_to(root).with_suffix("").as_posix()
    return sorted(root.glob("chapters/*/*.md"), key=lambda path: toc.find(name(path)))


def _heading(path):
    return re.search(r"^# (.+)$", path.read_text("utf8"), re.MULTILINE)[1]


def _release_date(root, version):
    heading = re.compile(rf"^## \[{re.escape(version)}\] - (\S+)$", re.MULTILINE)
    found = heading.search((root / "CHANGELOG.md").read_text("utf8"))
    if not found:
        raise ValueError(f"CHANGELOG.md: no line `## [{version}] - YYYY-MM-DD`; add it")
    return found[1]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("write", "check"))
    command = parser.parse_args(arguments).command
    try:
        made = {"CITATION.cff": citation(root), "README.md": readme(root)}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [
        name
        for name, text in made.items()
        if not (root / name).is_file() or (root / name).read_text("utf8") != text
    ]
    for name in stale:
        if command == "write":
            (root / name).write_text(made[name], "utf8")
            print(f"wrote {name}")
        else:
            print(f"{name} is not in step with pyproject.toml: run make notebooks")
    return 1 if stale and command == "check" else 0


if __name__ == "__main__":
    sys.exit(main())
