"""Front ends: from the scene to the irradiance on the sensor, and restoration.

Files: ``kernel`` a learned kernel · ``psf_imaging`` the base of ``imaging``, one PSF for the
picture, and ``varying``, PSFs that change across it · ``coherent`` laser light ·
``fourier_filter`` 4f systems with a ``plate`` · ``shutter`` moving scenes · ``projection``
distortion and falloff · ``restoration`` by a Wiener filter, ``restoration_unet`` by a network.
"""
