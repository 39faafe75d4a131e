"""Use of a trained system.

Files: ``predict`` classification of pictures, ``decision`` saved decision rules · ``export``
deployment as one ``graph_file`` · ``data_sheet`` a camera in numbers,
``traced_lens`` those of a lens of several surfaces.
"""
