"""How fast the tool is: each figure beside that of a peer, measured in the same run. `make bench` runs all of it."""
