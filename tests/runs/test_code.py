"""The fingerprint of code: changes with meaning, not with words."""

import pytest

from repro.runs.code import _meaning_and_imports, code_fingerprint, modules_used

SOURCE = '''"""Module text."""
import math
RATE = 0.5
"""What the rate is for."""

def area(r):
    """Area of a disc."""
    return math.pi * r**2  # in square metres
'''


def _digest(path, source):
    path.write_text(source)
    return _meaning_and_imports(path, hash(source))[0]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("Module text.", "Other words.", True),
        ("What the rate is for.", "Why it is a half.", True),
        ("Area of a disc.", "πr².", True),
        ("  # in square metres", "", True),
        ("0.5", "0.25", False),
        ("r**2", "r**3", False),
        ("import math", "import math, repro.cost", False),
    ],
)
def test_only_meaning_changes_the_digest(tmp_path, old, new, same):
    assert old in SOURCE
    before, after = (_digest(tmp_path / "module.py", text) for text in (SOURCE, SOURCE.replace(old, new)))
    assert (before == after) is same


def test_a_run_covers_what_its_module_imports_but_no_kernels():
    used = modules_used("repro.papers.acghostnet.found")
    assert {"repro.papers.acghostnet.found", "repro.search.cars", "repro.train.loop"} <= set(used)
    assert not [name for name in used if name.startswith(("repro.cpu", "repro.report", "repro.runs"))]
    assert len(code_fingerprint("repro.papers.acghostnet.found")) == 12
