"""A run as data: checked, immutable, hashable, JSON.

Files: ``scenes`` what is seen · ``front_ends`` camera elements by their kind · ``colour`` their
lamps and filters · ``off_axis`` what a lens does towards the corners · ``psf`` a camera by the file
of its PSF · ``custom`` an element by the path of its class · ``codecs`` codecs by their kind ·
``run`` the whole, and how it is read.
"""
