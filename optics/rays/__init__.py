"""Lenses of several elements, by rays through surfaces of revolution.

Files: ``surface`` shapes and glasses · ``paraxial`` first-order numbers · ``ray_trace`` rays,
``ray_aiming`` rays that fill the stop · ``misalignment`` surfaces and elements beside the axis ·
``lens_field`` wavefronts, spots and distortion ·
``compound_lens`` a lens that is trained, ``compound_imaging`` its camera · ``prescription_file``
``.zmx`` files.
"""
