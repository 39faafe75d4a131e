"""The sensor, from photons to codes, and its figures after EMVA 1288.

Files: ``sensor`` the module, by the steps of ``read_out`` · ``pixel`` fixed patterns and areas,
``noise`` shot noise, ``converter`` rounding, ``mosaic`` colour filter arrays · ``sensor_range``
limits and warnings · ``photon_transfer`` the figures of a data sheet · ``camera_measurement`` the
same from frames, with ``nonuniformity`` and ``dark_current``.
"""
