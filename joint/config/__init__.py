"""A run as data: checked, immutable, hashable, JSON.

Files: ``scenes`` the data, ``bands`` their wavelengths · ``front_ends`` optics by their kind ·
``lens`` a lens with an element in its pupil · ``off_axis`` its aberrations towards the corners ·
``compound`` a lens of several surfaces, whose rays are traced · ``colour`` lamps and filters ·
``psf`` a camera by the file of its PSF · ``shutter`` for moving scenes · ``sensor`` photons to
codes · ``restoration`` of the sensor's picture · ``codecs`` by their kind · ``classifier`` ·
``custom`` a stage by the path of its class · ``run`` the whole configuration, and reading it ·
``faults`` messages about an invalid one.
"""
