"""Files on the disk: complete or absent, and written by one process.

Files: ``folder`` a run as a folder, ``checkpoint`` files that are complete or absent, ``lock`` one
writer · ``predictions`` scores of the test part, ``environment`` machine and versions.
"""
