"""How cost grows: time and memory of each step over three decades of size. `make bench-scale` runs it."""
