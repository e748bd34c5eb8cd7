"""The worker for MACE with a product of one's choice: `python -m sciten.cli.benchmarks.workers.mace_products`."""

import time

from sciten.cli.benchmarks.workers.ours import job
from sciten.cli.benchmarks.workers.serve import Job, Request, serve
from sciten.equivariant import ClebschGordanProduct, GauntProduct
from sciten.potentials import MACE


def prepare(request: Request) -> Job:
    """Build a model with random weights."""
    start = time.perf_counter()
    product = GauntProduct(method="grid") if request["product"] == "gaunt" else ClebschGordanProduct()
    arguments = {**request["arguments"], "product": product}
    model = MACE(**arguments)
    ready = job(model, request, time.perf_counter() - start)
    ready.facts["parameters"] = sum(p.numel() for p in model.parameters())
    return ready


if __name__ == "__main__":
    serve(prepare)
