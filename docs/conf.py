"""Sphinx builds the documentation site from this folder: `make docs`. Nothing is fetched from the network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent / "_ext")]

project = "Sparsefleet"
author = "The Sparsefleet authors"
release = version = installed_version("sparsefleet")

extensions = ["myst_nb", "sphinx.ext.autodoc", "docstrings", "reference_pages"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
#: the pages show the stored outputs of the notebooks; `make tutorials` executes the notebooks
nb_execution_mode = "off"
nb_merge_streams = True
exclude_patterns = ["_ext"]

#: headings down to this depth are targets of links such as `page.md#heading`
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
#: single backquotes in docstrings are code, as in Markdown
default_role = "code"
pygments_style = "friendly"

html_theme = "furo"
html_title = f"Sparsefleet {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Code blocks marked as `csv` are shown as they are: Pygments has no lexer for them."""
    app.add_lexer("csv", TextLexer)
