"""Tolerancing: the loss when a camera is not built, or not used, as designed.

Files: ``imperfection`` the class of an imperfection, ``perturbation`` the built-in ones,
``alignment`` decentres and tilts, ``wavefront`` Zernike terms, ``disturbed`` parts in other places
· ``robustness`` accuracy against each imperfection · ``sensitivity`` each alone at its limits,
``tolerance`` devices with all at once (Monte Carlo), ``merit`` the measure of a device, also after
refocusing · ``window`` light that the simulation of a device loses.
"""
