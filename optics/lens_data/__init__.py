"""Point-spread functions and wavefronts from outside: a bench, a data sheet, a design program.

Files: ``measured`` PSFs from pictures of a point · ``from_mtf`` PSFs from curves of contrast,
``contrast_curve`` such curves · ``lens_design`` listings of Zemax OpticStudio.
"""
