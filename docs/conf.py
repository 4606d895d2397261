"""How Sphinx builds these pages. `make docs` needs no network, and neither do the pages."""

from __future__ import annotations

from itertools import pairwise

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from amulet_integrations import __version__

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
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
napoleon_use_ivar = True


def write_mathml(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes a formula as MathML, which browsers draw by themselves, without a script."""
    if isinstance(node, nodes.math_block):
        formula = convert(node.astext(), display="block")
        translator.body.append(f'<div class="math">{formula}</div>')
    else:
        translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def mark_code(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Makes the indented examples and formulas of our docstrings literal blocks."""
    marked = lines[:1]
    for before, line in pairwise(lines):
        follows_prose = not before and len(marked) > 1 and not marked[-2].startswith(" ")
        if follows_prose and line.startswith("    "):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def setup(app: Sphinx) -> None:
    """Registers the two functions above."""
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("autodoc-process-docstring", mark_code, priority=400)  # before napoleon's 500
