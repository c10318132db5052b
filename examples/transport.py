"""Semi-discrete optimal transport alone: N(0, I) to points with masses, to a certified error."""
import torch

from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver, TransportSolution

points, masses = torch.randn(500, 8), torch.rand(500) + 0.5  # y_i and w_i
problem = SemiDiscreteProblem(points, masses=masses / masses.sum())
solution = SemiDiscreteSolver(chi2=0.01)(problem, seed=0)
print("chi2", solution.certificate.chi2, "up to", solution.certificate.high, "converged", solution.converged)
noise = torch.randn(10, 8)
print("sent to points", solution.potential.cell(noise).tolist(), solution.potential.transport(noise).shape)
solution.save("solution.safetensors")
again = TransportSolution.load("solution.safetensors", points)
print("the same to the bit", torch.equal(again.potential.heights, solution.potential.heights))
