"""Training: the loop, its steps, and a state that survives a kill.

::

    training ─► preflight ─► member ─► run ─► step ─► loop ─► history
         augment ─► view, teacher ─────────────┘       └─► listen

Files: ``training`` the settings · ``preflight`` checks before the first step, ``member`` what was
given and checked · ``run`` the state of a run: ``optimizer`` what learns at which rate, ``average``
the moving average of the weights, ``rate_weight`` a weight that moves, ``outcome`` the best epoch
and how it ended, ``training_file`` its checkpoint, ``identity`` whether that is of this run ·
``augment`` random augmentation, ``view`` its operations · ``teacher`` class scores of another
system · ``step`` from pictures to new weights · ``loop`` :func:`joint.fit` · ``ensemble`` several
runs in one process, ``stack`` their nets as one, ``two_stage`` a kernel first, then the element ·
``history`` the result · ``listen`` listeners of epochs.
"""
