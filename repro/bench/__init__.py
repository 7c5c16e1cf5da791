"""Side-by-side timings of operators against their peers."""
