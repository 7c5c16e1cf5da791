"""Modules over `repro.ops`, and conversion of ordinary models."""
