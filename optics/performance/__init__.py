"""What a camera does, in numbers.

Files: ``lens_performance`` the data sheet of a lens, ``through_focus`` its best focus,
``examined`` the lens that both look at · ``slanted_edge`` the contrast of a whole camera ·
``sampling`` whether the samples of a pupil are enough.
"""
