"""How far a lesion stands out, at which plane, and whether that decides.

Files: ``measures`` of contrast, ``gcnr`` that of histograms · ``plane`` after each stage ·
``by_class`` what is typical of a class, ``confusion`` which classes are confused · ``correctness``
contrast against being right, within class · ``change`` between two systems · ``causal`` the same
lesions at another contrast · ``dependence`` all of these of one system.
"""
