"""Settings of the documentation: ``python -m sphinx -W docs docs/_build/html``.

Nothing is fetched from the network. The reference, the gallery and the diagrams are made from the
code each time.
"""

import re
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_tools"))

import diagram  # noqa: E402
import gallery  # noqa: E402
import mend  # noqa: E402
import reference  # noqa: E402

from joint.settings import Settings  # noqa: E402

project = "lens2label"
author = "The lens2label authors"
project_copyright = author
release = re.search(
    r'^version = "(.+)"$', (DOCS.parent / "pyproject.toml").read_text(), re.MULTILINE
)[1]
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "formulas",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_tools", "gallery/**/*.py", "gallery/**/*.ipynb", "gallery/**/*.md5"]
reference.write(DOCS / "reference")
diagram.write(DOCS / "diagrams")

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 72
# "path" in a type line is a kind of argument, and is also the name of three attributes.
suppress_warnings = ["ref.python"]
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = gallery.settings(Path(tempfile.mkdtemp(prefix="gallery-")))

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "lens2label"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#3a6ea5",
        "color-brand-content": "#3a6ea5",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ab6e8",
        "color-brand-content": "#8ab6e8",
    },
}


def setup(app):
    """Docstrings and gallery pages, made strict before they are read."""
    app.connect("autodoc-process-docstring", _attribute, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("source-read", gallery.give_titles)
    app.connect("source-read", _results)


def _attribute(app, what, name, thing, options, lines):
    """Keep napoleon from taking what stands before a colon in a field's sentence for its type."""
    if what in ("attribute", "property", "data"):
        lines[:0] = ["..", ""]  # an empty comment, which has no colon
    elif what == "class" and issubclass(thing, Settings) and "Attributes" in lines:
        del lines[lines.index("Attributes") :]  # the page has them one by one


def _docstring(app, what, name, thing, options, lines):
    lines[:] = mend.mended(lines)


def _results(app, name, source):
    """List the pages of results that there are; a toctree complains of patterns without a match."""
    if name == "results":
        known = {"index", "benchmarks", "changelog", "contributing", "training", "results"}
        known |= {"phantom", "rate_distortion"}  # listed by hand, and first
        pages = [path.stem for path in sorted(DOCS.glob("*.md")) if path.stem not in known]
        below = sorted((DOCS / "results").rglob("*.md"))
        pages += [path.relative_to(DOCS).with_suffix("").as_posix() for path in below]
        source[0] = source[0].replace("\nphantom\n", "\n".join(["\nphantom", *pages, ""]))
