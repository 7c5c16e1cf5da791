"""Training loops, optimisers, schedules, checkpoints."""
