"""Configuration of Sphinx; ``python docs/build.py`` builds."""

import sys
from pathlib import Path

import lenet5c

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "lenet5c"
author = "The lenet5c developers"
copyright = "the lenet5c developers"
release = version = lenet5c.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "api_pages",
    "command_pages",
    "formulae",
    "live_page",
    "repository_files",
]
exclude_patterns = ["_build", "_extensions", "_static", "_templates"]
templates_path = ["_templates"]
nitpicky = True

myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = False
myst_heading_anchors = 4

autodoc_typehints = "none"  # numpydoc's sections have the types
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "autolink"

html_math_renderer = "svg"
html_theme = "furo"
html_title = f"lenet5c {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#a02c40", "color-brand-content": "#a02c40"},
    "dark_css_variables": {"color-brand-primary": "#f08a98", "color-brand-content": "#f08a98"},
}
