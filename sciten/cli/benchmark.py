"""`sciten benchmark`."""

import enum
import json as json_
import sys
from pathlib import Path
from typing import Annotated

import typer


class Benchmark(enum.StrEnum):
    """What can be measured."""

    MACE = "mace"


def benchmark(
    name: Annotated[Benchmark, typer.Argument(help="What to measure.")],
    json: Annotated[
        Path | None,
        typer.Option(help="Where to write the results."),
    ] = None,
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
    rounds: Annotated[int, typer.Option(min=1, help="Timed calls of each program in each case.")] = 11,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each program.")] = 2,
    hidden_lmax: Annotated[
        list[int] | None, typer.Option(min=0, max=2, help="Only these L; may be given several times.")
    ] = None,
) -> None:
    """Measure speed and memory, beside other programs on the same machine in the same run.

    Without --peer-python sciten is measured alone. A complete comparison in a checkout replaces the results
    in benchmarks/results/ unless --json names another place; other runs write only where --json says.
    """
    from sciten.cli.benchmarks import mace, machine, tables
    from sciten.files import write_text

    settings = mace.Settings(
        peer_python=peer_python,
        symmetrix=symmetrix,
        symmetrix_limit=symmetrix_limit,
        rounds=rounds,
        threads=threads,
        degrees=tuple(sorted(set(hidden_lmax))) if hidden_lmax else (0, 1, 2),
    )
    load = machine.load()
    if load is not None and load > machine.QUIET_LOAD:
        print(f"warning: the load average is {load}: other work disturbs these timings", file=sys.stderr)
    if peer_python is None:
        print("no --peer-python: measuring sciten alone", file=sys.stderr)
    document = mace.run(settings)
    print(tables.table(document))
    root = machine.checkout()
    complete = peer_python is not None and settings.degrees == (0, 1, 2)
    target = json or (root / "benchmarks" / "results" / f"{name}_speed.json" if root and complete else None)
    if target is not None:
        write_text(target, json_.dumps(document, indent=1, ensure_ascii=False) + "\n")
        print(f"written: {target}")
