"""The commands of the command line, a file each: its options, their checks, what it does.

::

    joint.cli ── lens2label COMMAND OPTIONS ──► main of the file of that name ──► exit status

Each file is loaded when its command is asked for, so that none waits for what another needs.

Files: ``describe`` a camera in numbers · ``train`` a run · ``evaluate`` a run judged again,
``judged`` what that says, ``other_scenes`` whether others can be judged, and are new to it ·
``predict`` what pictures show · ``report`` runs as a page · ``contrast`` whether contrast decides ·
``tolerance`` what errors cost · ``runs`` run folders · ``audit`` leaks of a split · ``rate`` codecs
side by side, ``compress`` and ``decompress`` picture files, ``codec_files`` what they share ·
``export`` one file to deploy · ``options`` what several have in common, ``reading`` how that is
read.

Folders: ``study`` the commands of studies.
"""
