"""An extension of Griffe, which reads the sources for the documentation site (mkdocs.yml).

Fields of dataclasses and named tuples are described by comments beside or above them; this turns
those comments into docstrings.
"""

import ast
import pathlib
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Uses the comments on a class's fields as their docstrings."""

    def on_attribute_instance(
        self,
        *,
        node: ast.AST | griffe.ObjectNode,
        attr: griffe.Attribute,
        agent: griffe.Visitor | griffe.Inspector,
        **kwargs: Any,
    ) -> None:
        """Called for every attribute that is read."""
        if attr.docstring is not None or not isinstance(node, ast.AnnAssign):
            return
        if attr.parent is None or not attr.parent.is_class:
            return
        assert isinstance(attr.filepath, pathlib.Path)  # a list of them is a namespace package
        comment = _comment(attr.lines_collection[attr.filepath], node)
        if comment:
            attr.docstring = griffe.Docstring(comment, parent=attr)


def _comment(lines: list[str], node: ast.AnnAssign) -> str:
    """The comment on the field's last line, or the comment lines right above it."""
    end = node.end_lineno or node.lineno
    beside = lines[end - 1][node.end_col_offset or 0 :].strip()
    if beside.startswith("#"):
        return beside.lstrip("# ")
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip().lstrip("# "))
    return " ".join(above)
