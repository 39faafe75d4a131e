"""The report of a study as one HTML page.

Files: ``whole`` the page, ``selection`` what was required of designs, ``exploration`` of the
designs, ``atlas`` of the learned elements · ``charts`` designs, effects, fronts, curves,
``elements`` what was learned, drawn.
"""
