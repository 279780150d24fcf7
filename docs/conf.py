"""Sphinx: ``make docs``, or ``sphinx-build -W docs docs/_build/html``."""

import os
import sys
from pathlib import Path

import numcore

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
for library in ("OMP", "OPENBLAS", "MKL"):  # a build leaves the other cores to other programs
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

project, author = "numcore", "The numcore developers"
copyright = author
version = release = numcore.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "numcore_docs",
]
exclude_patterns = [
    "_build",
    "derivations",
    "examples",
    "gallery/backreferences",
    "measured",
    "**/GALLERY_HEADER.rst",
    "**/README.*",
]
templates_path = ["_templates"]

numpydoc_show_class_members = False
autodoc_typehints = "none"

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "abort_on_example_error": True,
    "backreferences_dir": "gallery/backreferences",
    "capture_repr": (),  # only what a page prints, no "<matplotlib...>"
    "doc_module": ("numcore",),
    "download_all_examples": False,
    "min_reported_time": 1,
    "reference_url": {"numcore": None},
    "show_signature": False,
    "within_subsection_order": "ExampleTitleSortKey",
}

html_theme = "pydata_sphinx_theme"
html_title = f"numcore {release}"
html_show_sourcelink = False
html_static_path, html_css_files = ["_static"], ["numcore.css"]
html_sidebars = {
    page: []
    for page in (
        "accuracy",
        "adding_a_method",
        "changelog",
        "devices",
        "embedding",
        "index",
        "speed",
        "testing_without_a_gpu",
    )
}  # no pages below
html_theme_options = {
    "header_links_before_dropdown": 5,
    "logo": {"text": "numcore"},
    "navbar_end": ["version", "theme-switcher"],
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"api/generated/*": [], "index": []},
    "show_prev_next": False,
}
