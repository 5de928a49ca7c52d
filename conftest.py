"""For the examples in docstrings, which pytest runs as tests too."""

import pytest


@pytest.fixture(autouse=True)
def elsewhere(request, monkeypatch):
    """An example may write files: it runs in a folder that goes away."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
