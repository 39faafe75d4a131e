"""Evaluation of a system on a set of scenes: labels, bits and fidelity.

Files: ``evaluate`` the pass over scenes, ``evaluation`` its result · ``point`` the operating point:
light, distance, motion or quality, ``light_cut`` light that the simulation loses · ``metric`` names
of metrics · ``view_average`` average over several views · ``choose`` a decision rule, ``referral``
pictures to refer.
"""
