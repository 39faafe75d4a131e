"""What is lost where a camera is not built, or not used, as it was designed.

Files: ``imperfection`` what one is, ``perturbation`` those that there are, ``alignment`` decentres
and tilts, ``wavefront`` Zernike terms, ``disturbed`` the parts that sit elsewhere · ``robustness``
accuracy against each · ``sensitivity`` in one way at its limits, ``tolerance`` devices that are off
in all ways at once, ``merit`` judged by one number, also when focused anew · ``window`` the light
that the simulation of a device loses.
"""
