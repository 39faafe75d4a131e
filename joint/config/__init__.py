"""A run as data: checked, immutable, hashable, JSON.

Files: ``scenes`` what is seen · ``front_ends`` camera elements by their kind · ``colour`` their
lamps and filters · ``psf`` a camera by the file of its PSF · ``codecs`` codecs by their kind ·
``run`` the whole, and how it is read.
"""
