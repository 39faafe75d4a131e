"""Parts of figures: a score, an element, the planes of one pass, and what a screen shows of them.

Each draws into axes, or a part of a figure, that it is given; the figures of :mod:`joint.figure`
and of reports are made of them. Nothing here needs matplotlib before something is drawn.

Files: ``look`` of all figures · ``dodged`` series of intervals beside one another · ``score``
matrices and diagrams of a report · ``element`` a front end · ``planes`` one pass · ``screen`` which
channels are red, green and blue.
"""
