"""Public calls neither change nor follow what a program has set for all its code."""

import random
import warnings

import numpy as np
import pytest
import torch

import dpmot
from dpmot.device import PRODUCTS
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver, TransportSolution

pytestmark = pytest.mark.usefixtures("one_thread")
CALLS = {  # public call -> what it gives, as tensors
    "expressway": lambda d, folder: [dpmot.expressway(d.images[:30], 1.0, chi2=0.5).solution.potential.heights],
    "expressway of a path": lambda d, folder: [
        dpmot.expressway(d.images[:30], 1.0, chi2=0.5, path=folder / "e").solution.potential.heights
    ],
    "Expressway.save and load": lambda d, folder: [_read(d, folder).solution.potential.heights],
    "Expressway.start": lambda d, folder: [d.way.start(d.noise)],
    "Expressway.source": lambda d, folder: [d.way.source(d.noise)],
    "Expressway.labels_of": lambda d, folder: [d.way.labels_of(d.noise)],
    "Expressway.points": lambda d, folder: [d.way.points(d.noise).x],
    "sample": lambda d, folder: _drawn(dpmot.sample(d.denoiser, d.way, "ddpm", 3)),
    "sample from the prior": lambda d, folder: _drawn(
        dpmot.sample(d.denoiser, "prior", nfe=3, shape=(1, 8, 8), levels=(0.002, 80.0))
    ),
    "sample from points": lambda d, folder: _drawn(dpmot.sample(d.denoiser, d.noise, nfe=3, sigma=1.0)),
    "denoiser": lambda d, folder: [
        dpmot.denoiser(lambda x, t: x / 2, "flow")(d.noise, torch.tensor(1.0, device="cpu"))
    ],
    "transport": lambda d, folder: [_transported(d, folder).potential.heights],
}


def _read(d, folder):
    d.way.save(folder / "w")
    return dpmot.Expressway.load(folder / "w", d.images)


def _drawn(samples):
    return [samples.x0, samples.images]


def _transported(d, folder):
    atoms = d.images[:30]
    solution = SemiDiscreteSolver(chi2=0.5)(SemiDiscreteProblem(atoms), seed=0)
    solution.save(folder / "t")
    return TransportSolution.load(folder / "t", atoms)


def state():
    """All that torch, numpy and Python keep for everyone."""
    return {
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": [str(part) for part in np.random.get_state()],
        "Python's generator": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "precision": [torch.get_float32_matmul_precision(), *(product.fp32_precision for product in PRODUCTS)],
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "autocast": [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")],
        "cuDNN": (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark),
        "hooks on modules": len(torch.nn.modules.module._global_forward_pre_hooks),
        "numpy's errors": np.geterr(),
        "warnings": len(warnings.filters),
    }


def test_every_public_call_is_among_those_tried():
    """Types are told by their methods; those of others have tests of their own."""
    assert {"Expressway", "Samples", "denoiser", "expressway", "sample", "transport"} <= set(dpmot.__all__)
    methods = {name for name in vars(dpmot.Expressway) if not name.startswith("_")}
    tried = " ".join(CALLS)
    asked = {"start", "source", "labels_of", "points", "save", "load"}
    assert asked <= methods and all(name in tried for name in asked)


@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_leaves_the_state_as_it_was(digits, noise, tmp_path, name):
    digits.noise = noise
    CALLS[name](digits, tmp_path / "before")  # what is imported at first is no call's doing
    before = state()
    CALLS[name](digits, tmp_path)
    after = state()
    assert {key: value for key, value in after.items() if value != before[key]} == {}


@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_gives_the_same_in_whatever_state(digits, noise, tmp_path, altered, name):
    digits.noise = noise
    ordinary = CALLS[name](digits, tmp_path / "ordinary")
    with altered():
        before = state()
        inside = CALLS[name](digits, tmp_path / "altered")
        after = state()
    assert {key: value for key, value in after.items() if value != before[key]} == {}
    assert all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(ordinary, inside, strict=True))
    assert not any(one.is_inference() for one in inside)


def test_importing_costs_no_torch_and_lists_what_is_public():
    import subprocess
    import sys

    code = "import sys, dpmot; dir(dpmot); print('torch' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
    assert set(dpmot.__all__) <= set(dir(dpmot)) and all(getattr(dpmot, name) for name in dpmot.__all__)
    with pytest.raises(AttributeError, match="dpmot has no expresway; public are"):
        _ = dpmot.expresway


def test_type_checkers_see_the_same_names():
    import re
    from pathlib import Path

    stub = Path(dpmot.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert sorted(re.findall(r"import (\w+) as \1$", stub, flags=re.M)) == sorted(dpmot.__all__)
