"""Statistics of scores: ROC, EER, TAR@FAR, bootstrap intervals, one-shot accuracy."""
