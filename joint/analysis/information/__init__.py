"""How much a picture tells of its class, without training a network.

Files: ``observer`` the best linear template, ``usable`` a linear probe, ``gaussian`` noisy patches
of noiseless ones · ``cross_fit`` judged by other lesions · ``screening`` the gauges of a system,
and of many designs.
"""
