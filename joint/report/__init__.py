"""One HTML page on one run, or on several runs side by side, as a single file.

::

    run folders ─ saved ──► SavedRun ─┬─ compare ───► differences on common pictures ─┐
                                      └─ sections ──► one run, part by part ──────────┴─► HTML
                                            └─ draw: figures

Files: ``saved`` the contents of a run folder, ``scenes`` system and pictures for measuring ·
``sections`` the parts of a run: ``recorded`` in the folder, with ``words`` for its configuration,
``ranked`` by its scores, ``shown`` on pictures, ``accuracy`` losses, costs and robustness, ``why``
explanations · ``compare`` several runs · ``draw`` figures · ``page`` HTML · ``figures`` the same
figures as separate files · ``write`` the page file.

The page is self-contained: pictures are embedded, it loads nothing from the network and runs no
script, and everything that comes from a run is escaped text. It shows pictures of the data set and
names pictures and lesions, so pass it on only where the data set may be passed on.
"""

from .figures import figures_in
from .write import report_html, write_report

__all__ = ["figures_in", "report_html", "write_report"]
