"""Maps that exercise everything a `Multilinear` can say, for the tests of executors."""

import torch

from sciten.tensor.multilinear import Index, Multilinear, Operand, Term


def rich_map() -> Multilinear:
    """Gathered, shared, channel-free and repeated factors; scattered, shared and channel-free results."""
    arguments = (Operand(3, index="s"), Operand(4, channels=False), Operand(2), Operand(2, shared=True))
    results = (
        Operand(5, index="r"),
        Operand(2, channels=False, shared=True),
        Operand(3),
        Operand(2, channels=False),
    )
    convolution = [Term(0.3 * i - 1, ((0, i % 3), (1, i % 4), (2, i % 2)), (0, i % 5)) for i in range(20)]
    others = [
        Term(2.0, ((0, 1), (0, 2), (2, 1)), (1, 1)),
        Term(1.5, ((1, 1),), (1, 0)),
        Term(2.0, ((0, 1), (3, 1), (2, 1)), (2, 2)),
        Term(-0.5, ((0, 0), (0, 0), (0, 0)), (2, 2)),
        Term(0.7, ((1, 2), (1, 2), (1, 3)), (3, 1)),
    ]
    return Multilinear(arguments, results, tuple(convolution + others))


def rich_arguments(
    batch: int, channels: int, dtype: torch.dtype = torch.float64
) -> tuple[list[torch.Tensor], dict[str, Index]]:
    """Random arguments and indices of `rich_map`, the first index unsorted, the second sorted."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(True)

    senders = Index(torch.randint(0, 6, (batch,), generator=generator), 6)
    receivers = Index(torch.randint(0, 4, (batch,), generator=generator).sort().values, 4)
    arguments = [random(6, 3, channels), random(batch, 4), random(batch, 2, channels), random(2, channels)]
    return arguments, {"s": senders, "r": receivers}
