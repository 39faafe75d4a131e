"""Optical fields: propagation in free space, and functions on a plane.

Files: ``propagation`` by angular spectrum, Fresnel and Fraunhofer · ``planes`` fields as pairs of
real and imaginary planes · ``aperture`` openings, ``coded_aperture`` patterns without a lens ·
``zernike`` polynomials, ``off_axis`` their coefficients over the field.
"""
