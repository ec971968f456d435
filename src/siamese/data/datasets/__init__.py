"""Published data sets and their protocols, one module each."""
