"""The results site: static pages made from the records, the printed numbers, the texts and the docstrings."""
