"""Sphinx: what is said elsewhere in the repository, or known to the code, is taken from there."""

import os
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import execution  # noqa: E402
import pages  # noqa: E402

import cqlbench  # noqa: E402

project = "cqlbench"
author = copyright = "The cqlbench authors"  # noqa: A001
version = release = cqlbench.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
mathjax_path = "mathjax/tex-svg.js"  # MathJax 3.2.2, one file that needs no network
exclude_patterns = ["_build", "static"]
html_theme = "furo"
html_title = "cqlbench"
html_static_path, html_css_files = ["static"], ["site.css"]
html_show_sourcelink = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "separated"
suppress_warnings = ["myst.xref_ambiguous"]

execution.isolate()
nb_execution_mode = os.environ.get("NOTEBOOKS", "cache")  # off: pages without outputs, in a minute less
nb_execution_cache_path = execution.cache()
nb_output_stderr = "remove"  # progress
nb_execution_in_temp = nb_execution_raise_on_error = nb_execution_show_tb = nb_merge_streams = True
nb_execution_timeout = 900  # seconds for a cell


def setup(app: Any) -> None:
    """Fill in what a page takes from elsewhere."""
    app.connect("source-read", lambda _, name, source: source.__setitem__(0, pages.filled(name, source[0])))
