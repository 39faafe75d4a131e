"""Compression of picture files: single ones, folders and zips, also to a given rate.

Files: ``source`` finding files · ``file`` single pictures · ``folder`` many pictures · ``quality``
the best quality within a rate · ``measure`` codecs compared at several settings.
"""
