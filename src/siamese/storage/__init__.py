"""Files, tables and object stores: atomic writes, staging, parallel reads."""
