"""Which layer and which head to use in a target domain whose labels are not known: `python -m analysis advise`.

`domains` holds the images, `facts` what is measured of them, `estimates` which of it can be used, `rule` what
follows from it, `evidence` and `scores` how often that was right in finished sweeps.
"""
