"""How Sphinx builds these pages. `make docs` needs no network, and neither do the pages."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from amulet_integrations import __version__
from amulet_integrations.validation import FrozenModel

project = "amulet-integrations"
author = "The amulet-integrations authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"amulet-integrations {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Docstrings say code with single backticks; where they name something documented, this links it.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
# The attributes of our value objects are the parameters of their constructors.
napoleon_custom_sections = [("Attributes", "params_style")]


def write_mathml(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes a formula as MathML, which browsers draw by themselves, without a script."""
    # The converter leaves no space around functions.
    formula = re.sub(r"(?<=[\w)}]) \\log ", r"\\,\\log ", node.astext()).replace(
        r"\log ", r"\log\, "
    )
    if isinstance(node, nodes.math_block):
        translator.body.append(f'<div class="math">{convert(formula, display="block")}</div>')
    else:
        translator.body.append(convert(formula))
    raise nodes.SkipNode


def show_fields(*event: Any) -> tuple[str, None] | None:
    """Gives value objects a signature of their fields; the wrappers, which have dozens, none.

    Args:
        *event: What Sphinx tells: app, kind, name, object, options, signature, return annotation.
    """
    kind, documented = event[1], event[3]
    if kind != "class" or not issubclass(documented, BaseModel):
        return None
    if not issubclass(documented, FrozenModel):
        return "", None
    fields = documented.model_fields.items()
    shown = (name if field.is_required() else f"{name}={field.default!r}" for name, field in fields)
    return f"({', '.join(shown)})", None


def read_as_plain_text(*event: Any) -> None:
    """Lets docstrings be written as plain text with `code` in it.

    Indented examples and formulas become literal blocks; bars and trailing underscores, which
    mean something to reStructuredText alone, mean nothing.

    Args:
        *event: What Sphinx tells of the docstring; its lines are last, to be changed in place.
    """
    lines: list[str] = event[-1]
    read: list[str] = []
    in_code = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and len(read) > 1 and not read[-1] and not read[-2].startswith(" "):
            read += ["::", ""]
            in_code = True
        in_code = in_code and (indented or not line)
        read.append(line if in_code or line.lstrip().startswith(">>>") else _escaped(line))
    lines[:] = read


def _escaped(line: str) -> str:
    parts = line.split("`")
    parts[::2] = [re.sub(r"\||(?<=\w)_(?=[\s,.;)]|$)", r"\\\g<0>", part) for part in parts[::2]]
    # A plural such as `ValueError`s: the letter must be kept apart from the code.
    return re.sub(r"(?<=\w`)(?=s\b)", r"\\ ", "`".join(parts))


def setup(app: Sphinx) -> None:
    """Registers the functions above."""
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("autodoc-process-signature", show_fields)
    # napoleon, which is to read what comes out, has priority 500.
    app.connect("autodoc-process-docstring", read_as_plain_text, priority=400)
