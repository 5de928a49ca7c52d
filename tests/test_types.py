"""The shapes that the annotations state, checked at run time while every example runs."""

import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def checked(tmp_path):
    """Run a program in which each call of the package checks the types that it states."""

    def run(program):
        hook = """
            import sys, types, warnings
            from beartype import BeartypeConf, beartype
            from jaxtyping import install_import_hook
            warnings.simplefilter("ignore")
            sys.modules["checker"] = types.ModuleType("checker")  # an int will do for a float
            sys.modules["checker"].check = beartype(conf=BeartypeConf(is_pep484_tower=True))
            install_import_hook("ntkbook", "checker.check")
        """
        source = textwrap.dedent(hook) + textwrap.dedent(program)
        return subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,  # examples may write files
        )

    return run


def test_every_example_keeps_to_its_types(checked):
    done = checked("""
        import doctest, importlib, pkgutil, ntkbook
        modules = ["ntkbook"] + [
            m.name for m in pkgutil.walk_packages(ntkbook.__path__, "ntkbook.")
        ]
        class Types(doctest.OutputChecker):  # only exceptions count here, not digits
            def check_output(self, want, got, optionflags):
                return True
        runner = doctest.DocTestRunner(checker=Types())
        for name in modules:
            for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
                runner.run(test)
        summary = runner.summarize()
        print("examples:", summary.attempted, "failed:", summary.failed)
        raise SystemExit(summary.failed > 0 or summary.attempted < 150)
    """)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_check_is_on(checked):
    """An argument of a shape that the annotations do not allow must be refused by them."""
    done = checked("""
        import jax.numpy as jnp
        from ntkbook import regression
        from jaxtyping import TypeCheckError
        try:
            regression.kernel_regression(jnp.eye(2), jnp.ones(2), jnp.ones((1, 3, 3)))
        except TypeCheckError as error:
            print("refused")
    """)
    assert done.stdout == "refused\n", done.stderr[-2000:]
