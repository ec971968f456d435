"""Trainings that send themselves a signal at a certain step: no test has to catch the moment."""

from __future__ import annotations

# Before a program of `python -c`; takes the signal's number and the step's, counted over all epochs, off its arguments.
AT_A_STEP = """
import os, sys
from siamese.training import sampler
number, at_step = int(sys.argv.pop(1)), int(sys.argv.pop(1))
listed, begun = sampler.labelled_pairs, []
def labelled_pairs(codes):
    begun.append(codes)
    if len(begun) == at_step:
        os.kill(os.getpid(), number)
    return listed(codes)
sampler.labelled_pairs = labelled_pairs
"""
