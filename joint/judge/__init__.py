"""What a system is worth: labels, bits and fidelity, over a set of scenes.

Files: ``evaluate`` the one pass over scenes, ``evaluation`` what it found · ``point`` at which
light, blur or quality, ``light_cut`` what its simulation leaves out · ``metric`` which number ·
``view_average`` of several views · ``referral`` of pictures to refer.
"""
