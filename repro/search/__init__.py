"""Search spaces, supernets, samplers, evolution."""
