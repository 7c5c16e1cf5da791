"""The explorers as a page of their own: `python -m repro.app`, or `make app`."""
