"""One HTML page of one run, or of several side by side: for people, in one file.

::

    run folders ─ saved ──► SavedRun ─┬─ compare ───► differences on common pictures ─┐
                                      └─ sections ──► one run, part by part ──────────┴─► HTML
                                            └─ draw: figures

Files: ``saved`` what a folder says without its scenes, ``scenes`` what measuring it takes ·
``sections`` the parts of a run: ``recorded`` in the folder, with ``words`` for its configuration,
``ranked`` by its scores, ``shown`` on pictures, ``accuracy`` and what it costs · ``compare``
several runs · ``draw`` figures · ``page`` HTML · ``figures`` of it as files of their own ·
``write`` the file.

The page is whole in itself: pictures are in it, it asks for nothing from the network and runs no
script, and all that comes from a run is text in it. It shows pictures of the data set, and
names pictures and lesions, so it may be passed on only where they may.
"""

from .figures import figures_in
from .write import report_html, write_report

__all__ = ["figures_in", "report_html", "write_report"]
