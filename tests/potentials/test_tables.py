import copy

import torch
from torch import nn

from sciten.potentials.tables import RadialTables


def function(network: nn.Linear, distances: torch.Tensor) -> torch.Tensor:
    return network(torch.sin(distances)[:, None])[:, None]


def test_tables_are_made_once_for_the_same_weights() -> None:
    networks = [nn.Linear(1, 3), nn.Linear(1, 3)]
    tables = RadialTables()
    first = tables.of(networks, function, 4.0)
    assert tables.of(networks, function, 4.0) is first
    with torch.no_grad():
        networks[1].weight.data.mul_(2)
    second = tables.of(networks, function, 4.0)
    assert second is not first
    x = torch.tensor([1.234])
    for table, network in zip(second, networks, strict=True):
        assert table.knots.dtype == torch.float32
        expected = function(network, x).detach()
        torch.testing.assert_close(table.at(x / table.spacing), expected, rtol=1e-5, atol=1e-6)


def test_a_copy_has_tables_of_its_own() -> None:
    networks, tables = [nn.Linear(1, 3)], RadialTables()
    first = tables.of(networks, function, 4.0)
    assert copy.deepcopy(tables).of(networks, function, 4.0) is not first
