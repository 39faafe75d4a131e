"""Picture files: single ones, folders and zips of them, at a rate that is asked for.

Files: ``source`` where they are · ``file`` single pictures · ``folder`` many · ``quality`` the best
within a rate · ``measure`` what codecs make of them at several settings.
"""
