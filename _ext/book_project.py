"""What the pages say of the release and the repository, made from pyproject.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Project:
    """The release that this tree is, and where it lives."""

    version: str
    authors: str
    repository: str
    tag: str  # of the release in the repository
    pages: str  # where the built book is published
    colab: str  # opens a notebook of the release: add its path


def read_project(folder: Path) -> Project:
    """Read pyproject.toml, the only place that holds the version and the repository's address."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    repository = project["urls"]["Repository"].rstrip("/")
    address = urlsplit(repository)
    owner, _, name = address.path.strip("/").partition("/")
    if address.netloc != "github.com" or not name or "/" in name:
        raise ValueError(
            f"pyproject.toml: Repository is {repository!r}; expected https://github.com/OWNER/NAME"
        )
    tag = f"v{project['version']}"
    return Project(
        version=project["version"],
        authors=" and ".join(author["name"] for author in project["authors"]),
        repository=repository,
        tag=tag,
        pages=f"https://{owner}.github.io/{name}/",
        colab=f"https://colab.research.google.com/github/{owner}/{name}/blob/{tag}/",
    )


def bibtex(project: Project, title: str, year: str) -> str:
    """How to cite the book, as a code block of Markdown."""
    return f"""```bibtex
@book{{ntkbook,
  author = {{{{{project.authors}}}}},
  title  = {{{title}}},
  year   = {{{year}}},
  note   = {{Version {project.version}}},
  url    = {{{project.pages}}},
}}
```"""


def configure(app, config):
    """Set what Jupyter Book would otherwise want to be written in _config.yml."""
    project = read_project(Path(app.srcdir))
    config.author = project.authors
    config.version = config.release = project.version
    config.html_baseurl = project.pages
    config.html_theme_options.update(
        repository_url=project.repository,
        repository_branch=project.tag,
        use_repository_button=True,
        use_issues_button=True,
        launch_buttons={"colab_url": "https://colab.research.google.com"},
    )
    config.extlinks = {  # {source}`LICENSE`, {colab}`on Colab <chapters/PART/NAME.ipynb>`
        "source": (f"{project.repository}/blob/{project.tag}/%s", "%s"),
        "colab": (f"{project.colab}%s", "%s"),
    }
    config.myst_substitutions = {  # {{ version }} in a page
        "version": project.version,
        "repository": project.repository,
        "pages": project.pages,
        "bibtex": bibtex(project, config.html_title, config.copyright),
    }


def setup(app):
    app.connect("config-inited", configure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
