"""Training: the loop, its steps, and a state that survives a kill.

::

    training ─► preflight ─► run ─► step ─► loop ─► history
         augment ─► view, teacher ─┘      └─► listen

Files: ``training`` the settings · ``preflight`` checks before the first step · ``run`` the state of
a run and its files · ``augment`` random augmentation, ``view`` its operations · ``teacher`` class
scores of another system · ``step`` from pictures to new weights ·
``loop`` :func:`joint.fit` · ``ensemble`` several runs in one process, ``two_stage`` a kernel first,
then the element · ``history`` the result · ``listen`` listeners of epochs.
"""
