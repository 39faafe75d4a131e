"""Contrast of lesions at each plane of a system, and whether the classifier depends on it.

Files: ``measures`` contrast measures, ``gcnr`` that of histograms · ``plane`` contrast after each
stage · ``by_class`` medians of each class, ``confusion`` contrast against confusion of classes ·
``correctness`` contrast against correct answers, within class · ``change`` between two systems ·
``causal`` the same lesions at another contrast · ``dependence`` all of these for one system.
"""
