"""Content-addressed run folders, provenance, and the executor."""
