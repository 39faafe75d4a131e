"""Picture files: single ones, folders of them, at a rate that is asked for, and the commands.

Files: ``file`` single pictures · ``folder`` many · ``quality`` the best within a rate · ``command``
``lens2label compress`` and ``decompress``.
"""
