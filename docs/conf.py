"""Settings of the site that `make site` builds from the pages and the committed notebooks."""

import shutil
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from myst_nb.core.render import NbElementRenderer

ROOT = Path(__file__).parents[1]
NAVIGATION = {  # heading -> patterns of pages; a page stands where it is found first
    "Start": ["docs/install.md", "notebooks/0*", "docs/own-data.md", "notebooks/99*"],
    "XTC": ["notebooks/2*"],
    "HiTTs": ["notebooks/1*"],
    "RDC": ["notebooks/3*"],
    "TPKR": ["notebooks/4*"],
    "Teach": ["docs/teaching.md", "docs/notebooks.md"],
    "Reference": ["notebooks/90*", "docs/records.md", "docs/*.md", "C*.md"],
}

project = "mtpsl"
root_doc = "README"
extensions = ["myst_nb"]
include_patterns = ["*.md", "docs/*.md", "notebooks/*.ipynb"]
nb_execution_mode = "off"  # what is committed is what is shown
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4  # named as GitHub names them
html_title = project
html_show_copyright = False
html_theme = "furo"
html_copy_source = False
html_math_renderer = "mathml"  # no script from elsewhere, so pages read the same offline
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def navigation():
    """The headings with their pages, as Markdown that only the site sees."""
    seen = set()
    for heading, patterns in NAVIGATION.items():
        found = [p for pattern in patterns for p in sorted(ROOT.glob(pattern)) if p.suffix != ".py"]
        pages = [p for p in dict.fromkeys(found) if p not in seen]
        seen.update(pages)
        names = "\n".join(f"/{p.relative_to(ROOT).as_posix()}" for p in pages)
        if pages:
            yield f"\n```{{toctree}}\n:caption: {heading}\n:hidden:\n\n{names}\n```\n"


def add_navigation(app, name, source):
    source[0] += "".join(navigation()) if name == root_doc else ""


def keep_alt(render):
    """MyST-NB drops the text that a notebook stores beside a picture; this keeps it."""

    def render_image(self, data):
        (image,) = render(self, data)
        image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return [image]

    return render_image


def write_math(writer, node):
    code = node.astext().replace(r"\dots", r"\ldots")
    writer.body.append(tex2mathml(code, as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def add_index(app, error):
    if not error:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app):
    NbElementRenderer.render_image = keep_alt(NbElementRenderer.render_image)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.connect("source-read", add_navigation)
    app.connect("build-finished", add_index)
