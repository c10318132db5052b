"""What a caller sets for the whole process changes no number of a network, a denoiser, a sampler or a training."""

import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from dpmot import plugins, seeds
from dpmot.device import ordinary
from dpmot.diffusion import network
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser, TiledDenoiser
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import FAMILIES, edm_chain, karras
from dpmot.diffusion.training import batch_of, fit

pytestmark = pytest.mark.usefixtures("one_thread")
CARD = {"kind": "edm", "options": {}, "shape": [1, 8, 8], "unet": {"channels": 8}}


@contextmanager
def switched(value, get, put):
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def default_dtype(dtype):
    return switched(dtype, torch.get_default_dtype, torch.set_default_dtype)


@contextmanager
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


STATES = {
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device meta": lambda: switched("meta", lambda: None, torch.set_default_device),
    "within a device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "products in bfloat16": lambda: switched(
        "medium", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "products of mkldnn in bfloat16": lambda: switched(
        "bf16",
        lambda: torch.backends.mkldnn.matmul.fp32_precision,
        partial(setattr, torch.backends.mkldnn.matmul, "fp32_precision"),
    ),
    "deterministic": lambda: switched(  # use_deterministic_algorithms imports the compiler first: four seconds
        True, torch.are_deterministic_algorithms_enabled, torch._C._set_deterministic_algorithms
    ),
    "numpy raises": lambda: np.errstate(all="raise"),
    "warnings are errors": warnings_are_errors,
}
X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(40, 64, generator=torch.Generator().manual_seed(1))
IMAGES = POINTS.reshape(40, 1, 8, 8).clamp(-1, 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A network on disk with random weights."""
    path, stream = tmp_path_factory.mktemp("networks") / "n.safetensors", torch.Generator().manual_seed(0)
    tensors = {k: 0.1 * torch.randn(v.shape, generator=stream) for k, v in network.build(CARD).state_dict().items()}
    network.save(path, CARD, {None: tensors})
    return path


def trained(images):
    torch.manual_seed(0)
    model = network.build(CARD)
    denoiser = network.NetworkDenoiser(network.parametrisation(CARD), model)
    schedule = Schedule(steps=3, batch=4, warmup=1)
    fitted = fit(
        model, lambda i: denoiser.losses(batch_of(images, 0, "t", i, size=4)), schedule, seed=0, description="t"
    )
    return torch.cat([tensor.flatten() for tensor in fitted.weights.values()])


def students(name, file):
    """The weights of a distilled network after two steps."""
    teacher, options = network.load(file), {"consistency": {"levels": 3}, "knowledge": {"pairs": 4, "teacher_steps": 2}}
    options["reflow"] = options["knowledge"]
    train = plugins.find("distillation", name).train
    options = options.get(name, {"step_counts": (1,)})
    weights = train(teacher.denoiser(1), teacher.chain, IMAGES, Schedule(steps=2, batch=4, warmup=1), seed=0, **options)
    return torch.cat([tensor.flatten() for one in weights.values() for tensor in one.values()])


def sampled(name, denoiser):
    rows = seeds.sample_seeds(0, 3)
    noise = seeds.trajectory(rows, (64,))
    x, sigmas = 20 * seeds.normal(rows, (64,), "prior").double(), torch.from_numpy(karras(4, 20.0, 0.02))
    return plugins.find("baselines", name).sample(denoiser, x, sigmas, noise=lambda i: noise(i).double())


SIGMA = torch.tensor(0.7)
CALLS = {
    "a network": lambda file: network.load(file).denoiser(1)(X, SIGMA),
    "a network in tiles": lambda file: TiledDenoiser(network.load(file).denoiser(1))(X, SIGMA),
    "the ideal denoiser": lambda file: IdealDenoiser(POINTS)(X.flatten(1), SIGMA),
    "the denoiser of a mixture": lambda file: MixtureDenoiser(POINTS, 0.1)(X.flatten(1), SIGMA),
    "a training": lambda file: trained(IMAGES),
    "labels of a start": lambda file: seeds.integers([1, 2, 3], 10, "labels"),
    "the grids": lambda file: torch.tensor(
        [edm_chain().grid(5, 50.0, family=family).tolist() for family in FAMILIES], device="cpu", dtype=torch.float64
    ),
    **{name: lambda file, name=name: students(name, file) for name in plugins.names("distillation")},
    **{
        name: lambda file, name=name: sampled(name, TiledDenoiser(MixtureDenoiser(POINTS[:4], 0.1)))
        for name in plugins.names("baselines")
        if not plugins.constant("baselines", name, "SPANS")  # asks networks that know spans
    },
}
EXPECTED: dict[str, torch.Tensor] = {}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("call", CALLS)
def test_a_number_does_not_depend_on_what_the_caller_set_for_all_code(call, state, file):
    if call not in EXPECTED:
        EXPECTED[call] = CALLS[call](file).detach()
    with STATES[state]():
        found = CALLS[call](file)
    assert found.dtype == EXPECTED[call].dtype and torch.equal(found.detach(), EXPECTED[call])


@pytest.mark.parametrize("state", STATES)
def test_what_the_caller_set_is_there_again_afterwards(state):
    def seen():
        products = [product.fp32_precision for product in (torch.backends.mkldnn.matmul, torch.backends.cudnn.conv)]
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        return torch.get_default_dtype(), torch.get_default_device(), products, modes, np.geterr()

    with STATES[state]():
        with ordinary():
            assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cuda.matmul.allow_tf32
        before = seen()
        with pytest.raises(KeyError), ordinary():
            raise KeyError
        assert seen() == before


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_answers_in_the_precision_of_the_question_and_computes_in_its_own(dtype, file):
    for kind in ("edm", "ddpm"):
        denoiser = network.NetworkDenoiser(network.parametrisation({**CARD, "kind": kind}), network.build(CARD))
        found = denoiser(X.to(dtype), SIGMA.to(dtype))
        assert torch.equal(found, denoiser(X.to(dtype).float(), SIGMA.to(dtype).float()).to(dtype))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_what_tiles_give_is_an_ordinary_tensor_without_gradient(mode, file):
    with mode():
        denoiser = TiledDenoiser(network.load(file).denoiser(1))
        target = denoiser(X.requires_grad_(), SIGMA)
    assert not target.is_inference() and not target.requires_grad
    layer = torch.nn.Linear(8, 8)
    layer(target).square().mean().backward()
    assert layer.weight.grad is not None
