"""Searches and what networks cost."""

from collections.abc import Iterable
from typing import assert_type

import numpy as np
import torch
from torch import nn

from repro import cost, search
from repro.cost import Convention, Layer, LayerCost, ModelCost, OperationEnergies
from repro.search import CellSearch, CellSearchRecipe, ElasticTransformer, Evolution, GeneSpace, Round, evolve
from repro.train import TensorData


def genomes() -> float:
    space = GeneSpace({"width": (8, 12, 16), "kernel": (3, 5, 7)}, rule=lambda genome: genome[0] > genome[1])
    GeneSpace({"width": 8})  # type: ignore[dict-item]

    def energies(found: list[tuple[int, ...]]) -> list[float]:
        return [float(width * kernel) for width, kernel in found]

    def told(done: Round) -> None:
        print(done.number, len(done.population))

    result: Evolution = evolve(space, energies, cost={"energy": energies}, limit=2.0, seed=0, on_round=told)
    evolve(space, energies, cost=energies, limit=2.0)  # type: ignore[call-arg]
    evolve(space, 5, cost=energies, limit=2.0, seed=0)  # type: ignore[arg-type]
    best: search.Scored = result.best
    assert_type(best.costs, dict[str, float])
    return best.score


def cells(data: TensorData, device: torch.device) -> str:
    recipe = CellSearchRecipe(layers=4, topology_epochs=(1, 1))
    CellSearchRecipe(topology_epochs=1)  # type: ignore[arg-type]
    found: CellSearch = search.search_cells(recipe, data, data, seed=0, num_classes=10, device=device)
    search.search_cells(recipe, data, seed=0)  # type: ignore[call-arg]
    genotype = found.genotype_at(1)
    search.topology_weights(torch.ones(3), 3, temperature=0.5, normalize=True)
    return f"{genotype} {found.outcome} {found.held_out_accuracy_pct:.1f}"


def translators(model: nn.Module) -> nn.Module:
    space = search.TranslationSpace(embed=(128, 64), encoder_layers=(2,))
    search.TranslationSpace(embed=128)  # type: ignore[arg-type]
    supernet = ElasticTransformer(space, source_vocabulary=500, target_vocabulary=500, dropout=0.1)
    ElasticTransformer(space, source_vocabulary=500)  # type: ignore[call-arg]
    search.adaptive_l2(model, form="code")
    return search.subnet(supernet, space.largest)


def priced(model: nn.Module) -> float:
    whole: ModelCost = cost.model_cost(model, 32, cost.ACCOUNTINGS[0], depthwise="single")
    cost.model_cost(model, torch.ones(1, 3, 32, 32))
    cost.model_cost(model, 32, 5)  # type: ignore[arg-type]
    own = Convention("mine", "nobody", "additions only", adds_per_mac=2)
    counted: cost.Count = cost.count(model, 32, own)
    cost.count(model, 32, convention=5)  # type: ignore[arg-type]
    by_name: Convention = cost.CONVENTIONS["plain"]
    assert list(cost.DEPTHWISE) and by_name
    layer: LayerCost = cost.layer_cost("adder", in_channels=3, out_channels=8, hardware=cost.Hardware(pe_limit=64))
    cost.layer_cost("adder", in_channels=3)  # type: ignore[call-arg]
    cost.Hardware(pe_limit="64")  # type: ignore[arg-type]
    network, layers = cost.traced("resnet20", 32, op="shift")
    some: Iterable[Layer] = layers
    assert isinstance(network, type(cost.skeleton("resnet20", op="shift")))
    prices: OperationEnergies = cost.operation_energies("FP32")
    several = assert_type(cost.layers_cost(some, bits=8, energies=prices), ModelCost)
    units = cost.unit_energy("add", "INT8").energy_pj + cost.UNIT_ENERGIES[0].energy_pj
    cost.unit_energy("add")  # type: ignore[call-arg]
    units += cost.operation_energy_pj(1e6, mults=1e3)
    cost.saving_ratio_table()
    cost.unit_energy_table()
    return whole.energy_mj + counted.mults + layer.latency_ms + several.energy_mj + units


def latencies(measured: np.ndarray) -> float:
    features = np.stack([cost.path_features(name, layers=6) for name in ("transformer", "lightweight")])
    predictor = assert_type(cost.LatencyPredictor(width=50).fit(features, measured), cost.LatencyPredictor)
    cost.LatencyPredictor(50)  # type: ignore[call-arg]
    sentence: cost.TranslationCost = cost.translation_cost("transformer", tokens=30)
    cost.translation_cost("transformer", tokens="30")  # type: ignore[arg-type]
    return predictor.error_pct(features, measured) + sentence.energy_mj
