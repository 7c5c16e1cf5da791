"""Adder and shift operators: shape checks, back-end choice, autograd."""
