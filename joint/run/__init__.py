"""A run: from data to a finished one, and back.

Files: ``build`` from data to objects, ``start`` what a run begins with, ``complete`` from data to a
finished run, ``stop`` ends between steps · ``trained`` what a run left, brought back, ``printed``
how a module was built.
"""
