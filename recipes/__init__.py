"""Recipes: a published data set, the parameters that suit it, and what a model trained so reaches.

A folder each: `params.yaml` says what differs from the defaults, `recipe.py` what is run, `README.md` what came of it.
"""
