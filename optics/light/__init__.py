"""Light before the camera: lamps, filters and radiometric quantities.

Files: ``illumination`` lamps, trained or of partially coherent light · ``colour`` filters, and
channels of the bands of a scene · ``radiometry`` from lux and watts to photons · ``observer`` what
the standard observer and a camera see · ``colour_correction`` the matrix from one to the other.
"""
