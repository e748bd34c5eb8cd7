"""The verification of any potential, and of neural operators: do they respect what they must?"""

from sciten.simulation.verify.operators import verify_operator
from sciten.simulation.verify.result import CheckResult, Status, Verification
from sciten.simulation.verify.run import CHECKS, verify
from sciten.simulation.verify.structures import default_structures

__all__ = [
    "CHECKS",
    "CheckResult",
    "Status",
    "Verification",
    "default_structures",
    "verify",
    "verify_operator",
]
