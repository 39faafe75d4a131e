"""The commands of the command line, a file each: its options, their checks, what it does.

::

    joint.cli ── lens2label COMMAND OPTIONS ──► main of the file of that name ──► exit status

Each file is loaded when its command is used, so that no command waits for imports of another.

Files: ``describe`` a camera in numbers · ``train`` a run · ``evaluate`` a run again, ``judged`` its
result, ``other_scenes`` checks of scenes that are not the run's own · ``predict`` classes of
pictures · ``report`` a page on runs · ``contrast`` whether contrast decides · ``tolerance`` effect
of errors · ``runs`` run folders · ``audit`` leaks of a split · ``rate`` codecs side by side,
``compress`` and ``decompress`` picture files, ``codec_files`` what these three share · ``export``
one file for deployment · ``options`` common options, ``reading`` how they are read.

Folders: ``study`` the commands of studies.
"""
