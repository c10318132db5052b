"""Semi-discrete optimal transport from a source measure to atoms: problem -> solver -> solution with a certificate.

    problem = SemiDiscreteProblem(atoms, source_measure="normal")
    solution = SemiDiscreteSolver(chi2=0.01)(problem, seed=0)
    cell = solution.potential.cell(noise)
    solution.save("solution.safetensors")
    solution = TransportSolution.load("solution.safetensors", atoms)

torch, numpy and scipy only; knows no diffusion.
"""

from dpmot.transport.atoms import Atoms, TensorAtoms
from dpmot.transport.authors import AuthorsSchedule
from dpmot.transport.certificate import Certificate, certify
from dpmot.transport.potential import BrenierPotential
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.processes import Processes
from dpmot.transport.recipe import MappedImages, NoisyImages
from dpmot.transport.singular import SmoothedPotential, angles
from dpmot.transport.solver import Report, SemiDiscreteSolver, TransportSolution

__all__ = [
    "Atoms", "AuthorsSchedule", "BrenierPotential", "Certificate", "MappedImages", "NoisyImages", "Processes", "Report",
    "SemiDiscreteProblem", "SemiDiscreteSolver", "SmoothedPotential", "TensorAtoms", "TransportSolution", "angles",
    "certify",
]  # fmt: skip
