"""How well the tool recognises: the peers of the recipes, and the data that a recipe makes from a published set."""
