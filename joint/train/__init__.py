"""Training: one loop, its steps, and a state that a kill does not take.

::

    training ─► preflight ─► run ─► step ─► loop ─► history
         augment ─► view, teacher ─┘      └─► listen

Files: ``training`` what a person chooses · ``preflight`` what is refused before any time is spent
· ``run`` the state of a run and its files · ``augment`` draws of views, ``view`` one of each
picture · ``teacher`` what another system says of them · ``step`` from pictures to new weights ·
``loop`` :func:`joint.fit` · ``ensemble`` several runs in one process, ``two_stage`` a kernel first,
then the element · ``history`` what is known at the end · ``listen`` who is told of each epoch.
"""
