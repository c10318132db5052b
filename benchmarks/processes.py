"""One fit by as many processes as torchrun starts, one thread each: seconds of every process, a digest of the heights.

The digest is the same for any number of processes; seconds of the processor fall with it, but for what every process
does by itself: drawing the noise, and all of a fit that is not scoring.

example: python -m benchmarks.processes
         python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.processes --atoms 20000
"""

import argparse
import hashlib
import os
import time

import torch

from dpmot.seeds import generator
from dpmot.transport import Processes, SemiDiscreteProblem, SemiDiscreteSolver


def main() -> None:
    """Fit and print one line a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=5000)
    parser.add_argument("--dim", type=int, default=784)
    parser.add_argument("--chi2", type=float, default=0.1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw = generator(0, "processes", "atoms")
    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    atoms = torch.from_numpy(draw.standard_normal((options.atoms, options.dim), dtype="float32")).to(device)
    processes = None
    if "WORLD_SIZE" in os.environ:
        torch.distributed.init_process_group("gloo" if device == "cpu" else "nccl")
        processes = Processes()
    spent, passed = time.process_time(), time.perf_counter()
    solution = SemiDiscreteSolver(chi2=options.chi2, processes=processes)(SemiDiscreteProblem(atoms), seed=0)
    spent, passed = time.process_time() - spent, time.perf_counter() - passed
    digest = hashlib.sha256(solution.potential.heights.cpu().numpy().tobytes()).hexdigest()[:12]
    place = f"process {processes.rank} of {processes.number}" if processes else "alone"
    print(
        f"{place}: {spent:.1f} s of the processor, {passed:.1f} s; {solution.noises} noises, "
        f"chi2 {solution.certificate.chi2:.4f} [{solution.certificate.low:.4f}, {solution.certificate.high:.4f}], "
        f"heights {digest}"
    )
    if processes:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
