"""Parts of figures: a score, an element, the planes of one pass, and colours for a screen.

Each function draws into axes, or a part of a figure, that the caller gives; figures of
:mod:`joint.figure` and of reports are composed of them. Matplotlib is imported only when something
is drawn.

Files: ``look`` appearance of all figures · ``dodged`` intervals of several series side by side ·
``score`` matrices and diagrams of a report · ``element`` a front end ·
``cross_section`` a lens of several surfaces · ``planes`` one pass ·
``screen`` which channels are red, green and blue.
"""
