"""The API pages show types as the source writes them: ``x: Float[Array, 'n d']``."""

import ast
import inspect
import textwrap


def as_written(app, what, name, obj, options, signature, returns):
    """Replace the signature that autodoc makes, in which every type alias is expanded."""
    if what not in ("function", "method", "class"):
        return None
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))).body[0]
    except (OSError, TypeError):  # no source, such as a method that dataclass makes
        return None
    return signature_of(definition, bound=what == "method") or (signature, returns)


def signature_of(definition: ast.AST, bound: bool) -> tuple[str, str | None] | None:
    """Signature and return type of a function, or of a class that lists its fields."""
    if isinstance(definition, ast.FunctionDef):
        arguments = definition.args
        if bound:
            del (arguments.posonlyargs or arguments.args)[0]
        returns = ast.unparse(definition.returns) if definition.returns else None
        return f"({ast.unparse(arguments)})", returns
    fields = [node for node in definition.body if isinstance(node, ast.AnnAssign)]
    return (f"({', '.join(map(ast.unparse, fields))})", None) if fields else None


def skip_fields(app, what, name, obj, skip, options):
    """Leave out fields of named tuples: their class describes them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def keep_as_text(app, env, node, text):
    """Show a type of a signature without a link where the book does not document it.

    A name that a docstring or a page refers to is still an error when nothing has that name.
    """
    if node.get("refdomain") == "py" and "refexplicit" not in node:
        return text
    return None


def set_options(app, config):
    config.autodoc_member_order = "bysource"
    config.napoleon_use_ivar = True  # else Attributes are described twice
    config.napoleon_attr_annotations = False  # the signature has them
    config.napoleon_custom_sections = ["Source"]


def setup(app):
    app.connect("config-inited", set_options)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("missing-reference", keep_as_text, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
