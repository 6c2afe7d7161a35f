"""Sphinx's settings for the book; `docs/book/build.py` puts the sources beside a copy of this file."""

import nbutils

project = "nbutils"
author = "the nbutils authors"
release = nbutils.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx-mathjax-offline"]

html_theme = "furo"
html_title = "nbutils"
html_show_sourcelink = False
html_show_copyright = False
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which a page opened from the disk may not

nb_execution_mode = "off"  # build.py has run the notebooks, by the project's own runner
nb_ipywidgets_js: dict[str, dict] = {}  # it would be fetched from outside, and pictures stand without widgets
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # docstrings put code into single backticks
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_rtype = False
add_module_names = False
nitpicky = False
suppress_warnings = ["myst.header"]  # notebooks of one page may begin anew at the second level
