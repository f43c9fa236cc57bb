"""The site: `make docs` builds it into build/docs, without a network and without running a notebook."""

import sys
from pathlib import Path

import labkit

sys.path.insert(0, str(Path(__file__).parent / "_ext"))  # where Sphinx is to find the extensions of this folder

project = "Paper Lab"
author = "Paper Lab maintainers"
project_copyright = "2026, Paper Lab maintainers. Text: CC BY 4.0; code: MIT"
release = version = labkit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax from this environment instead of a server
    "course_pages",
    "docstrings",
]
exclude_patterns = ["_build", "_ext"]
smartquotes = False  # `--out` must stay `--out`

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks are stored with their outputs
nb_render_markdown_format = "myst"  # outputs hold equations, too
suppress_warnings = ["mystnb.unknown_mime_type"]  # records (docs/records.md), beside the text that a reader sees
nb_ipywidgets_js = {}  # it would be fetched from a server, and widgets have a static figure beside them

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # torch's words about `forward` say nothing about ours
autodoc_typehints_format = "short"

html_theme = "pydata_sphinx_theme"
html_title = "Paper Lab"
html_static_path = ["_static"]
html_css_files = ["lessons.css"]
html_show_sourcelink = False
html_theme_options = {
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 8,
    "secondary_sidebar_items": ["page-toc"],
}
