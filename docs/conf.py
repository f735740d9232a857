"""The site of the documentation: the pages of this folder, and every public name by its docstring.

    .venv/bin/pip install '.[docs]'
    .venv/bin/sphinx-build -W --keep-going -b html docs docs/_build

Docstrings are NumPy style. In them a name in single backticks is a link where there is something of that name, and a block that
is indented after an empty line is shown as it stands: formulas are written so.
"""

import inspect
import re
import sys
import types

import fastnn

sys.modules["fastnn.callbacks"] = fastnn.callbacks  # a name of a package within another

project = "fastnn"
author = "the fastnn authors"
copyright = f"2026, {author}"
version = release = fastnn.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "py:obj"

html_theme = "pydata_sphinx_theme"
html_title = f"fastnn {version}"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "footer_start": ["copyright"], "footer_end": []}

myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # a page of figures that a script writes begins with the third level
    "ref.python",  # several classes have what a name in single backticks says: then it is a link to one of them
]

autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "none"  # the docstrings say more
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True


def formulas_as_they_stand(app, what, name, thing, options, lines):
    """Make literal blocks of what is indented after an empty line."""
    made, depth, literal = [], 0, None
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            made.append(line)
            continue
        if literal is not None and indent < literal:
            literal = None
        starts = literal is None and i > 0 and not lines[i - 1].strip() and indent >= depth + 4
        if starts and not re.match(r"\s*(>>>|[-*] |\d+\. )", line):
            if not "".join(made).rstrip().endswith("::"):
                made += [" " * depth + "::", ""]
            literal = indent
        if literal is None:
            depth = indent
            if ">>>" not in line and "``" not in line:
                line = re.sub(r":(ref|term):`([^`<]*?)( <[^>]*>)?`", r"\2", line)  # those of scikit-learn's pages
                line = line.replace("|", "\\|")  # |x| is x's size, and no name of a substitution
        made.append(line)
    lines[:] = made


def without_what_is_inherited_from_python(app, what, name, thing, skip, options):
    """Whether a member is left out: what has no docstring is no business of users, and scikit-learn's own are in its pages."""
    return skip or name.endswith("_request") or name == "get_metadata_routing" or (not isinstance(thing, types.ModuleType) and not inspect.getdoc(thing))


def setup(app):
    app.connect("autodoc-process-docstring", formulas_as_they_stand, priority=400)  # before the sections are read
    app.connect("autodoc-skip-member", without_what_is_inherited_from_python)
