"""The verification of any potential: does it conserve energy, and does it respect every symmetry?"""

from sciten.simulation.verify.result import CheckResult, Status, Verification
from sciten.simulation.verify.run import CHECKS, verify
from sciten.simulation.verify.structures import default_structures

__all__ = ["CHECKS", "CheckResult", "Status", "Verification", "default_structures", "verify"]
