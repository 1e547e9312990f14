"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
OURS = [str(REPOSITORY), str(REPOSITORY / "src")]
sys.path[:0] = OURS
# Set here, before torch is imported, and seen by the kernels that execute the tutorials too.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks of pictures and tutorials are small: a second thread waits
os.environ["PYTHONPATH"] = os.pathsep.join([*OURS, *filter(None, [os.environ.get("PYTHONPATH")])])

from docs.generators import api, applications, flows, layers  # noqa: E402
from docs.generators.references import keep_colons, link_names, list_inherited  # noqa: E402

project = "inverseflow"
author = "the maintainers of inverseflow"
copyright = "the maintainers of inverseflow. MIT license"
version = release = installed_version("inverseflow")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
]
exclude_patterns = ["results", "generators", "_build"]
html_theme = "furo"
html_title = "inverseflow"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings: reStructuredText in Google style. Single backticks are names, which `link_names` links.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {
    "members": True,
    "inherited-members": ", ".join(sorted(api.class_names())),
    "exclude-members": "extra_repr, get_metadata_routing, set_fit_request, set_score_request, set_predict_request",
}
autodoc_mock_imports = [name for name in ("zuko", "nflows", "normflows", "FrEIA", "pyro", "sbi") if not find_spec(name)]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Shape", "params_style"), ("Reference", "Reference"), ("References", "References")]
python_maximum_signature_line_length = 88

# Pages are Markdown. Tutorials are notebooks, executed again when their code has changed; `make clean` forgets.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(REPOSITORY / "build" / "docs-notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

# Every reference must lead somewhere, but those to other projects: their inventories are on the network.
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(torch|nn|numpy|np|collections|numbers|os|pathlib|typing|typing_extensions|matplotlib|zuko|nflows|normflows|FrEIA|pyro|sbi)\..*|Module|Number|Figure",
    )
]


def unlink_folders(app: Any, page: str, source: list[str]) -> None:
    """Take the links to folders of the repository out of pages that are read there too: a site has no folders."""
    source[0] = re.sub(r"\[([^\]]+)\]\(results[^)]*\)", r"`docs/\1`", source[0])


def setup(app: Any) -> None:
    """Write the pages of the reference and the galleries before Sphinx looks for pages, and link names."""
    for generator in (api, layers, flows, applications):
        app.connect("builder-inited", lambda app, write=generator.write: write(Path(app.srcdir)), priority=100)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("autodoc-process-docstring", list_inherited)
    app.connect("source-read", unlink_folders)
    app.connect("missing-reference", link_names)
