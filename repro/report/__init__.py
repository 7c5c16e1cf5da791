"""Published against ours: tables, claims, verdicts, figures, provenance. Trains nothing."""
