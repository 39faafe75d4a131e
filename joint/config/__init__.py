"""A run as data: checked, immutable, hashable, JSON.

Files: ``scenes`` what is seen, in ``bands`` · ``front_ends`` camera elements by their kind ·
``lens`` a lens and what is in its pupil · ``off_axis`` what it does towards the corners ·
``compound`` a lens of several surfaces, whose rays are traced · ``colour`` lamps and filters ·
``psf`` a camera by the file of its PSF · ``shutter`` of scenes that move · ``sensor`` photons to
codes · ``restoration`` what is computed of its picture · ``codecs`` codecs by their kind ·
``classifier`` the judge · ``custom`` a stage by the path of its class · ``run`` the whole, and how
it is read · ``faults`` what is wrong with one, in words.
"""
