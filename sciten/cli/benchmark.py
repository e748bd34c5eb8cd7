"""`sciten benchmark`."""

import contextlib
import json as json_
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sciten.errors import ConfigError

app = typer.Typer(help="Measure speed beside other programs.", no_args_is_help=True)

Json = Annotated[Path | None, typer.Option(help="Where to write the results.")]
Rounds = Annotated[int, typer.Option(min=1, help="Timed calls of each program in each case.")]
TorchTT = Annotated[
    str | None,
    typer.Option(
        "--torchtt-python", envvar="SCITEN_TORCHTT_PYTHON", help="Python of an environment with torchTT."
    ),
]
Limit = Annotated[
    float, typer.Option(min=1, help="Seconds for one call; programs that take longer are left out.")
]
Small = Annotated[bool, typer.Option(help="Tiny sizes, to try the command: no measurement.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each program.")]


@app.command()
def mace(
    json: Json = None,
    peer_python: Annotated[
        str | None,
        typer.Option(
            envvar="SCITEN_PEER_PYTHON",
            help="Python of an environment with mace-torch and, if it is to be measured too, symmetrix-xl.",
        ),
    ] = None,
    symmetrix: Annotated[
        bool, typer.Option(help="Measure symmetrix-xl where that environment has it.")
    ] = True,
    symmetrix_limit: Annotated[
        float, typer.Option(min=0, help="Seconds for all its code generation; cases beyond are left out.")
    ] = 900.0,
    rounds: Rounds = 11,
    threads: Threads = 2,
    hidden_lmax: Annotated[
        list[int] | None, typer.Option(min=0, max=2, help="Only these L; may be given several times.")
    ] = None,
) -> None:
    """Measure MACE's speed and memory, beside other programs on the same machine in the same run.

    Without --peer-python sciten is measured alone. A complete comparison in a checkout replaces the results
    in benchmarks/results/ unless --json names another place; other runs write only where --json says.
    """
    from sciten.cli.benchmarks import mace as mace_
    from sciten.cli.benchmarks import tables

    settings = mace_.Settings(
        peer_python=peer_python,
        symmetrix=symmetrix,
        symmetrix_limit=symmetrix_limit,
        rounds=rounds,
        threads=threads,
        degrees=tuple(sorted(set(hidden_lmax))) if hidden_lmax else (0, 1, 2),
    )
    _warn_of_load()
    if peer_python is None:
        print("no --peer-python: measuring sciten alone", file=sys.stderr)
    document = mace_.run(settings)
    print(tables.table(document))
    _write(document, json, "mace_speed", complete=peer_python is not None and settings.degrees == (0, 1, 2))


@app.command()
def tensor_products(
    json: Json = None,
    fairchem_python: Annotated[
        str | None,
        typer.Option(
            envvar="SCITEN_FAIRCHEM_PYTHON",
            help="Python of an environment with fairchem-core, for SO(2) products.",
        ),
    ] = None,
    torchmd_python: Annotated[
        str | None,
        typer.Option(
            envvar="SCITEN_TORCHMD_PYTHON",
            help="Python of an environment with torchmd-net and safetensors, for TensorNet.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="degrees, convolution, so2, tensornet or mace; may be given several times."),
    ] = None,
    degree: Annotated[
        list[int] | None, typer.Option(min=1, max=10, help="Only these L; may be given several times.")
    ] = None,
    rounds: Rounds = 11,
    threads: Threads = 2,
    e3nn_limit: Annotated[
        float, typer.Option(min=0, help="Seconds for a way of running e3nn to compile; left out beyond.")
    ] = 300.0,
    small: Small = False,
) -> None:
    """Measure tensor products: time beside other libraries, and beside what the products can express.

    Peers whose Python is not given are left out. A complete comparison in a checkout replaces the results and the
    plot in benchmarks/results/ unless --json names another place (the plot goes beside it); other runs write only
    where --json says. A run that stops early leaves the parts that it finished beside that file.
    """
    from sciten.cli.benchmarks import tensor_products as products
    from sciten.cli.benchmarks.tensor_products import plot, report
    from sciten.cli.benchmarks.tensor_products.settings import SMALL

    settings = replace(
        SMALL if small else products.Settings(),
        only=_parts("tensor-products", only, products.PARTS),
        fairchem_python=fairchem_python,
        torchmd_python=torchmd_python,
        e3nn_limit=e3nn_limit,
        rounds=rounds,
        threads=threads,
    )
    if degree:
        settings = replace(settings, degrees=tuple(sorted(set(degree))))
    _warn_of_load()
    print(f"{settings.cases} cases, counted by the bar", file=sys.stderr)
    everything = settings == replace(
        settings, only=tuple(products.PARTS), degrees=products.Settings().degrees
    )
    complete = everything and None not in (fairchem_python, torchmd_python) and not small
    with _kept(_target(json, "tensor_products", complete=complete)) as keep:
        document = products.run(settings, after_part=keep)
        print(report.table(document))
        target = _write(document, json, "tensor_products", complete=complete)
    if target is not None and "expressivity" in document:
        plot.plot(document, target.with_suffix(".png"))
        print(f"written: {target.with_suffix('.png')}")


@app.command()
def tensor_formats(
    json: Json = None,
    peer_python: TorchTT = None,
    rounds: Rounds = 7,
    limit: Limit = 300.0,
    small: Small = False,
) -> None:
    """Measure arithmetic of tensor trains beside torchTT, and what decompositions reach.

    A complete comparison in a checkout replaces the results in benchmarks/results/ unless --json names another place.
    """
    from sciten.cli.benchmarks import report
    from sciten.cli.benchmarks.low_rank import formats

    _warn_of_load()
    document = formats.run(formats.Settings(peer_python=peer_python, rounds=rounds, limit=limit, small=small))
    print(report.table(document))
    _write(document, json, "tensor_formats", complete=peer_python is not None and not small)


@app.command()
def pde(
    json: Json = None,
    peer_python: TorchTT = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="poisson, drift, bits, plane or oscillators; may be given several times."),
    ] = None,
    rounds: Rounds = 5,
    limit: Limit = 300.0,
    small: Small = False,
) -> None:
    """Measure solvers of stationary problems: time at equal true residual, beside torchTT, and true errors.

    A complete comparison in a checkout replaces the results in benchmarks/results/ unless --json names another place.
    """
    from sciten.cli.benchmarks import report
    from sciten.cli.benchmarks.low_rank import pde as pde_

    parts = _parts("pde", only, dict.fromkeys(pde_.MEASURES, ""))
    _warn_of_load()
    settings = pde_.Settings(peer_python=peer_python, only=parts, rounds=rounds, limit=limit, small=small)
    complete = peer_python is not None and parts == tuple(pde_.MEASURES) and not small
    with _kept(_target(json, "pde", complete=complete)) as keep:
        document = pde_.run(settings, after_part=keep)
        print(report.table(document))
        _write(document, json, "pde", complete=complete)


@app.command()
def neural_operators(
    json: Json = None,
    peer_python: Annotated[
        str | None,
        typer.Option(
            envvar="SCITEN_NEURALOPERATOR_PYTHON", help="Python of an environment with neuraloperator."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Parts to measure; may be given several times.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder of the datasets that the workflows make, as `make bench-data` does.")
    ] = Path("runs/data"),
    work: Annotated[
        Path,
        typer.Option(
            help="Folder where finished trainings are kept: the same command continues. Empty it after changing sciten."
        ),
    ] = Path("runs/benchmark_neural_operators"),
    seconds: Annotated[float, typer.Option(min=1, help="Of each training on Navier-Stokes data.")] = 60.0,
    rounds: Rounds = 7,
    limit: Limit = 300.0,
    small: Small = False,
) -> None:
    """Measure training steps of neural operators beside neuraloperator, and their accuracy on data.

    Darcy's data are those in SCITEN_REFERENCE_DATA, the others in --data; what has none is left out. A complete run in
    a checkout replaces the results and the plot in benchmarks/results/ unless --json names another place (the plot goes
    beside it).
    """
    from sciten.cli.benchmarks import report
    from sciten.cli.benchmarks.neural_operators import curve_plot, measures, navier_stokes
    from sciten.cli.benchmarks.neural_operators.settings import Settings

    parts = _parts("neural-operators", only, dict.fromkeys(measures.MEASURES, ""))
    _warn_of_load()
    settings = Settings(
        peer_python=peer_python,
        only=parts,
        rounds=rounds,
        limit=limit,
        small=small,
        data=data,
        work=work,
        seconds=seconds,
    )
    everything = parts == tuple(measures.MEASURES) and settings.complete
    complete = peer_python is not None and everything and not small
    with _kept(_target(json, "neural_operators", complete=complete)) as keep:
        document = measures.run(settings, after_part=keep)
        print(report.table(document))
        target = _write(document, json, "neural_operators", complete=complete)
    if target is not None and any(case["part"] == navier_stokes.PART for case in document["cases"]):
        curve_plot.plot(document, target.with_suffix(".png"))
        print(f"written: {target.with_suffix('.png')}")


def _parts(command: str, chosen: list[str] | None, known: Mapping[str, str]) -> tuple[str, ...]:
    unknown = [part for part in chosen or [] if part not in known]
    if unknown:
        raise ConfigError(
            f"sciten benchmark {command}: expected --only to be one of {', '.join(known)}, got {unknown[0]!r}"
        )
    return tuple(part for part in known if not chosen or part in chosen)


def _warn_of_load() -> None:
    from sciten.cli.benchmarks import machine

    load = machine.load()
    if load is not None and load > machine.QUIET_LOAD:
        print(f"warning: the load average is {load}: other work disturbs these timings", file=sys.stderr)


def _write(document: Mapping[str, Any], json: Path | None, name: str, *, complete: bool) -> Path | None:
    """Write the results where they are wanted; returns where."""
    target = _target(json, name, complete=complete)
    if target is not None:
        _write_json(target, document)
        print(f"written: {target}")
    return target


def _target(json: Path | None, name: str, *, complete: bool) -> Path | None:
    from sciten.cli.benchmarks import machine

    root = machine.checkout()
    return json or (root / "benchmarks" / "results" / f"{name}.json" if root and complete else None)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    from sciten.files import write_text

    write_text(path, json_.dumps(document, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _kept(target: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Keeps what a run has found so far in a file beside its target, which goes once the target is written."""
    partial = target.with_suffix(".partial.json") if target else None
    kept = False

    def keep(document: Mapping[str, Any]) -> None:
        nonlocal kept
        if partial is not None:
            _write_json(partial, document)
            kept = True

    try:
        yield keep
    except BaseException:
        if kept:
            print(f"stopped early; the parts that were finished are in {partial}", file=sys.stderr)
        raise
    if kept and partial is not None:
        partial.unlink(missing_ok=True)
