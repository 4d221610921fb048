"""Connectivity of groups of images: how often a classifier mistakes the augmented images of one for those of another.

It estimates the edge weights of the positive-pair graph between groups, each a class in a domain (arXiv 2204.00570):
rho within a group, alpha between the domains of a class, beta between the classes of a domain, gamma between groups
that differ in both. Of all classes, or of single images, it makes the graph itself (`--groups`).
"""
