"""The view of one path shows its costs and its inherited loss, and offers what its resolution has."""

from repro.papers.shiftaddnas import path_view
from repro.papers.shiftaddnas.path_search import path_costs
from repro.papers.shiftaddnas.path_view import DATA, SPACE, described, path_explorer, small_supernet


def test_the_view_follows_the_choice(monkeypatch):
    monkeypatch.setattr(path_view, "SHOWN", 2)
    supernet = small_supernet(epochs=1)
    split, *layers, _, readout = path_explorer(supernet).children[0].children[0].children
    assert split.value == (1, 3) and [layer.value for layer in layers] == ["C", "A", "A", "A"]
    layers[1].value = "+"
    path = ("0C", "1+", "1A", "1A")
    row = described(supernet, [path]).iloc[0]
    assert "-".join(path) in readout.value and f"{row['loss']:.3f}" in readout.value
    assert f"{path_costs(SPACE, DATA, path)['macs_m']:.4g}" in readout.value
    split.value = (2, 2)  # the second layer keeps its operator, which the finer resolution has too
    assert [layer.value for layer in layers] == ["C", "+", "A", "A"] and "0C-0+-1A-1A" in readout.value
    assert dict(layers[1].options) == {"conv": "C", "shift": "S", "adder": "+"}
