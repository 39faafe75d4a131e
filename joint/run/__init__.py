"""A run: from data to a finished run, and back.

Files: ``build`` objects of a configuration, ``start`` initial weights from other runs, ``resume``
whether a run begins or goes on, ``complete`` from data to a finished run, ``stop`` a stop between
steps · ``trained`` loading of a finished run.
"""
