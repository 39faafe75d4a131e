"""Picture files: single ones, folders of them, at a rate that is asked for.

Files: ``file`` single pictures · ``folder`` many · ``quality`` the best within a rate.
"""
