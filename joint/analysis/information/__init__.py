"""Information of a picture about its class, measured without training a network.

Files: ``observer`` the best linear template, ``usable`` a linear probe, ``gaussian`` information of
noisy patches about noiseless ones · ``cross_fit`` cross-fitting by lesion · ``screening`` these
measures for a system, and for many designs.
"""
