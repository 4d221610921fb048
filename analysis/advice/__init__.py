"""Which layer and which head to use in a target domain whose labels are not known: `python -m analysis advise`.

`domains` holds the images, `facts` what is measured of them, `rule` what follows from it, `evidence` how often that was
right in finished sweeps.
"""
