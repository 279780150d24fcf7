"""Sphinx: ``make docs``, or ``sphinx-build -W docs docs/_build/html``."""

import sys
from pathlib import Path

import numcore

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project, author = "numcore", "The numcore developers"
copyright = author
version = release = numcore.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "numcore_docs",
]
exclude_patterns = [
    "_build",
    "examples",
    "derivations",
    "measured",
    "**/README.*",
    "**/GALLERY_HEADER.rst",
]
templates_path = ["_templates"]

numpydoc_show_class_members = False
autodoc_typehints = "none"

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "reference_url": {"numcore": None},
    "min_reported_time": 1,
}

html_theme = "pydata_sphinx_theme"
html_title = f"numcore {release}"
html_show_sourcelink = False
html_static_path, html_css_files = ["_static"], ["numcore.css"]
html_sidebars = {
    page: []
    for page in ("embedding", "accuracy", "speed", "adding_a_method", "testing_without_a_gpu")
}  # no pages below
html_theme_options = {
    "logo": {"text": "numcore"},
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
}
