"""Model versions and aliases: register, gate, promote, roll back, resolve, lineage."""
