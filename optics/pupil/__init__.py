"""Elements in a pupil, and the point-spread function that they form.

Files: ``element`` masks and lenses, ``height_map`` reliefs, ``aberration`` wavefronts,
``vignetting`` openings off the axis · ``pupil`` all of them together, ``opening`` its aperture,
``sampling`` the points and the window that it can have, ``defocus`` by distance, ``coarse`` whether
samples resolve the phase · ``psf`` from pupil to point-spread function,
``psf_quality`` Strehl ratio and encircled energy, ``modulation`` transfer functions.
"""
