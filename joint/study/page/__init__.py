"""The report of a study as one HTML page.

Files: ``whole`` the page and what was planned, ``exploration`` of the designs, ``atlas`` of the
learned elements · ``charts`` designs, effects, fronts, curves, ``elements`` what was learned,
drawn.
"""
