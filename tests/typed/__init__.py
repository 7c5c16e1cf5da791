"""What a user writes, in parts: `make lint` lets mypy read them against the annotations, and nothing runs them.

Every name that the packages offer occurs here (`tests/test_public_types.py`). A line that ends in `type: ignore` is a
mistake that the annotations must show: mypy complains if they do not.
"""
