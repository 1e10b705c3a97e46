"""The documentation as a site: `make docs` builds it, and takes every warning for an error."""

project = "kdsearch"
html_title = "kdsearch"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
# Links to files beside docs/ are for those who read the repository.
suppress_warnings = ["myst.xref_missing"]
napoleon_google_docstring = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
