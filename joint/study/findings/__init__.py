"""What a study has found, from the files of its runs.

Files: ``table`` the runs as rows · ``inference`` intervals over seeds and lesions, ``lesion_units``
how many lesions those rest on, ``draws`` of all designs together · ``statistics`` comparisons,
``effects`` which choice matters · ``pareto`` what no other beats, ``front`` that of a study ·
``selection`` those that are good enough, ``one_sided`` by which tests · ``rate_accuracy`` bits for
an accuracy · ``element``, ``stability`` and ``atlas`` what was learned, and whether again ·
``design_summary`` all designs side by side, ``report`` what was shown, and what was not.
"""
