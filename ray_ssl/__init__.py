"""Self-supervised pretraining sweeps: what do representations learn, in which layer, and when?"""
