"""What lies on the disk: whole or absent, and written by one process.

Files: ``folder`` a run as a folder, ``checkpoint`` files that are whole or absent, ``lock`` one
writer · ``predictions`` what a run said of its test part, ``environment`` where it ran.
"""
