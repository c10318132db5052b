"""A pipeline of diffusers on an expressway: our samplers and their schedulers agree, on pixels, latents and labels."""

import runpy

import numpy as np
import pytest
import torch

import dpmot
from dpmot import plugins
from dpmot._torchvision import make_importable
from dpmot.diffusion import midway, network, schedulers, weights
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.starts import Points

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
diffusers = pytest.importorskip("diffusers")
make_importable()
import dpmot.diffusers as wrapped  # noqa: E402 - it needs the extra

IMAGES, CLASSES, STEPS = 24, 3, 5
# Their tables of levels and their states are float32. Found: at most 4e-6 of the largest; asked for: 1e-5.
AGREEMENT = 1e-5
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def unet(**options):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        **{"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, **options},
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


def dit(**options):
    torch.manual_seed(0)
    model = diffusers.DiTTransformer2DModel(
        **{"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 2, "num_layers": 2, "norm_num_groups": 1},
        **{"out_channels": 4, "sample_size": 4, "patch_size": 2, "num_embeds_ada_norm": CLASSES, **options},
    ).eval()
    for name, parameter in model.named_parameters():  # DiT begins as the identity: its gates are 0
        if "linear" in name or "proj_out" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def vae(channels=2):
    torch.manual_seed(1)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return diffusers.AutoencoderKL(
        1, 1, **blocks, block_out_channels=(4, 4), latent_channels=channels, norm_num_groups=2, scaling_factor=0.5
    ).eval()


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class OfClasses(diffusers.DiffusionPipeline):
    """What diffusers has for consistency models only: a UNet2DModel with classes and any scheduler."""

    def __init__(self, unet, scheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)


PIPELINES = {
    "pixels": lambda scheduler: diffusers.DDPMPipeline(unet(), scheduler),
    "labels": lambda scheduler: OfClasses(unet(num_class_embeds=CLASSES), scheduler),
    "latents": lambda scheduler: diffusers.DiTPipeline(dit(), vae(), scheduler),
}
SCHEDULERS = {  # of theirs, and what it is here
    "DDIM": ("ddim", {}, lambda: diffusers.DDIMScheduler(**BETAS, clip_sample=False)),
    "Euler": ("ddim", {}, lambda: diffusers.EulerDiscreteScheduler(**BETAS)),
    "DPM-Solver++": ("dpm_solver_pp", {"order": 2}, lambda: diffusers.DPMSolverMultistepScheduler(**BETAS)),
    "Heun": ("edm", {}, lambda: diffusers.HeunDiscreteScheduler(**BETAS)),
    "Euler, Karras' levels": ("ddim", {}, lambda: diffusers.EulerDiscreteScheduler(**BETAS, use_karras_sigmas=True)),
    "EDM's": ("ddim", {}, lambda: diffusers.EDMEulerScheduler()),
    "flow matching": ("ddim", {}, lambda: diffusers.FlowMatchEulerDiscreteScheduler()),
}


@pytest.fixture(scope="module")
def ways():
    """Expressways of images and of latents, at a level of the chain."""
    torch.manual_seed(2)
    sigma = wrapped.level(diffusers.DDIMScheduler(**BETAS), 1.0)
    labels = torch.arange(IMAGES) % CLASSES
    pixels = torch.randint(0, 256, (IMAGES, 1, 8, 8), dtype=torch.uint8)
    solved = {"chi2": 0.2, "max_noises": 20_000}
    latents = wrapped.encode(quiet(PIPELINES["latents"](diffusers.DDIMScheduler(**BETAS))), pixels)
    return {
        "pixels": dpmot.expressway(pixels, sigma, **solved),
        "labels": dpmot.expressway(pixels, sigma, labels=labels, **solved),
        "latents": dpmot.expressway(latents, sigma, labels=labels, pixels=False, **solved),
    }


def ours(denoiser, way, walk, noise, sampler, options, labels):
    """Our sampler on the scheduler's grid from the same start."""
    given = denoiser if labels is None else (lambda x, sigma: denoiser(x, sigma, labels))
    grid = torch.from_numpy(walk.sigmas)
    found = plugins.find("baselines", sampler).sample(given, way.start(noise).double(), grid, **options)
    return found.detach().float()


@torch.no_grad()
@pytest.mark.parametrize("loaded", ["from its folder", "as it is"])
@pytest.mark.parametrize("what", PIPELINES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_our_samplers_and_their_schedulers_agree_from_the_same_start(name, what, loaded, ways, tmp_path):
    sampler, options, make = SCHEDULERS[name]
    pipeline, way = quiet(PIPELINES[what](make())), ways[what]
    if what == "latents" and not hasattr(pipeline.scheduler, "alphas_cumprod"):  # a variance is learned by DDPM's alone
        pipeline = quiet(diffusers.DiTPipeline(dit(out_channels=2), pipeline.vae, pipeline.scheduler))
    noise = torch.randn(5, *way.shape, generator=torch.Generator().manual_seed(3))
    if loaded == "as it is":
        denoiser = wrapped.denoiser(pipeline)
    else:
        pipeline.save_pretrained(tmp_path)
        said = {**pipeline.scheduler.config, "_class_name": type(pipeline.scheduler).__name__}
        kind, told = schedulers.described(said)
        facts, tensors = weights.read_folder(tmp_path, kind, told)
        card = {"kind": kind, "options": told, "unet": {}, **facts}
        denoiser = network.NetworkDenoiser(network.parametrisation(card), network.build(card, tensors))
    walk = midway.Midway(pipeline.scheduler, way.sigma, STEPS)
    guided = {"guidance_scale": 1.0} if what == "latents" else {}
    theirs = wrapped.ExpresswayPipeline(pipeline, way)(
        latents=noise, num_inference_steps=STEPS, output_type="latent", **guided
    ).images
    expected = ours(denoiser, way, walk, noise, sampler, options, way.labels_of(noise))
    assert walk.sigmas[-1] == 0 and theirs.std() > 0.1
    assert (theirs - expected).abs().max() <= AGREEMENT * expected.abs().max()


class Noise:
    """What stands for an expressway of noise itself, at the top of a chain: a pipeline on it is the pipeline."""

    source_measure, labels = "normal", None

    def __init__(self, shape, sigma, scale):
        self.shape, self.sigma, self.scale = shape, sigma, scale

    def points(self, noise):
        return Points(noise * self.scale, None)


TRAILING = {"timestep_spacing": "trailing"}
WHOLE = {  # pipelines as they are -> (pipeline, top level, their noise in our units, what both are called with)
    "DDPM": (lambda: diffusers.DDPMPipeline(unet(), diffusers.DDPMScheduler(**BETAS, **TRAILING)), {}),
    "DDPM, learned variance": (
        lambda: diffusers.DDPMPipeline(
            unet(out_channels=2), diffusers.DDPMScheduler(**BETAS, **TRAILING, variance_type="learned_range")
        ),
        {},
    ),
    "DDIM, v": (
        lambda: diffusers.DDIMPipeline(
            unet(), diffusers.DDIMScheduler(**BETAS, **TRAILING, prediction_type="v_prediction")
        ),
        {},
    ),
    "DDIM, stochastic": (
        lambda: diffusers.DDIMPipeline(unet(), diffusers.DDIMScheduler(**BETAS, **TRAILING)),
        {"eta": 0.7},
    ),
    "consistency model": (
        lambda: diffusers.ConsistencyModelPipeline(
            unet(num_class_embeds=CLASSES), diffusers.CMStochasticIterativeScheduler()
        ),
        {"class_labels": [2, 0, 1], "num_inference_steps": 1},
    ),
    "LDM": (
        lambda: diffusers.LDMPipeline(
            diffusers.VQModel(
                1, 1, ("DownEncoderBlock2D",), ("UpDecoderBlock2D",), (4,), latent_channels=1, norm_num_groups=1
            ),
            unet(),
            diffusers.DDIMScheduler(**BETAS, **TRAILING),
        ),
        {},
    ),
    "DiT, guided": (
        lambda: diffusers.DiTPipeline(
            dit(num_embeds_ada_norm=1000), vae(), diffusers.DPMSolverMultistepScheduler(**BETAS, **TRAILING)
        ),
        {"class_labels": [7, 700, 0]},
    ),
}


@pytest.mark.parametrize("what", WHOLE)
@pytest.mark.parametrize("output", ["np", "pil"])
def test_an_expressway_of_noise_from_the_top_is_the_pipeline_as_it_is(what, output):
    make, options = WHOLE[what]
    pipeline = quiet(make())
    options = {"num_inference_steps": STEPS, "output_type": output, **options}
    levels = midway.levels_of(pipeline.scheduler)
    sigma = 80.0 if levels is None else levels[-1]
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    shape = (network.config.in_channels, network.config.sample_size, network.config.sample_size)
    way = Noise(shape, sigma, sigma if levels is None else (1 + sigma**2) ** 0.5)
    counted = {} if "class_labels" in options else {"batch_size": 3}
    theirs = {"batch_size": 3} if "class_labels" not in options or "unet" in pipeline.components else {}
    torch.manual_seed(5)  # of LDMPipeline's own noise
    expected = pipeline(**options, **theirs, generator=torch.Generator().manual_seed(4)).images
    found = wrapped.ExpresswayPipeline(pipeline, way)(
        **options, **counted, generator=torch.Generator().manual_seed(4)
    ).images
    assert type(found) is type(expected) and len(found) == 3
    left, right = (np.stack([np.asarray(image, dtype=np.float64) for image in images]) for images in (found, expected))
    assert right.std() > 1e-3
    np.testing.assert_allclose(left, right, atol=2e-5 if output == "np" else 1)  # float32; a grey level


OWN_GRID = [name for name in midway.UNITS if not name.startswith(("CM", "Flow", "DPMSolverSingle"))]  # laid otherwise


@pytest.mark.parametrize("name", OWN_GRID)
@pytest.mark.parametrize("steps", [1, 2, 5, 20])  # which divide 1000: DDIM's own steps end elsewhere for others
def test_from_the_top_a_scheduler_walks_as_after_set_timesteps(name, steps):
    known = diffusers.__dict__.get(name) or getattr(diffusers, name)
    options = {} if name.startswith("EDM") else {**BETAS, **TRAILING}
    scheduler = known(**options)
    own = known(**options)
    own.set_timesteps(steps)
    sigma = 80.0 if name.startswith("EDM") else midway.levels_of(scheduler)[-1]
    before = scheduler.timesteps.clone()
    walk = midway.Midway(scheduler, sigma, steps)
    assert len(walk.timesteps) == len(own.timesteps) and torch.equal(scheduler.timesteps, before)
    # their time is where the level lies between others, ours the level's own
    np.testing.assert_allclose(walk.timesteps.numpy(), own.timesteps.numpy(), rtol=1e-5, atol=1e-3)
    torch.manual_seed(0)
    state = left = own.init_noise_sigma * torch.randn(3, 1, 4, 4)
    answers = torch.randn(len(walk.timesteps), 3, 1, 4, 4)
    for i, (time, output) in enumerate(zip(own.timesteps, answers, strict=True)):
        generators = [torch.Generator().manual_seed(i) for _ in range(2)]
        shown, expected = walk.scaled(left, walk.timesteps[i]), own.scale_model_input(state, time)
        assert (shown - expected).abs().max() < 2e-5 * expected.abs().max()  # their tables are float32
        left = walk.step(output, i, left, {"generator": generators[0]})
        given = {"generator": generators[1]} if "generator" in own.step.__code__.co_varnames else {}
        state = own.step(output, time, state, **given).prev_sample
    assert (left - state).abs().max() < 2e-5 * state.abs().max()


REST = ["DPMSolverSinglestepScheduler", "FlowMatchHeunDiscreteScheduler", "UniPCMultistepScheduler"]


@pytest.mark.parametrize("name", REST)
def test_higher_orders_come_to_what_a_fine_grid_gives(name):
    torch.manual_seed(0)
    exact, noise = MixtureDenoiser(torch.randn(5, 12) / 2, 0.3), torch.randn(4, 12)
    scheduler = getattr(diffusers, name)()
    sigma = wrapped.level(scheduler, 1.3)
    grid = torch.from_numpy(midway.vp_steps(200, sigma, midway.levels_of(diffusers.DDIMScheduler())))
    fine, error = plugins.find("baselines", "edm").sample(exact, (sigma * noise).double(), grid), []
    for steps in (8, 32):
        walk = midway.Midway(scheduler, sigma, steps)
        state = walk.begin(sigma * noise)
        for i, time in enumerate(walk.timesteps.tolist()):
            if walk.units == "flow":  # the network's answer is eps - x0, else eps
                level, scale = time / (1000 - time), 1000 / (1000 - time)
            else:
                level = float(midway.levels_of(scheduler)[int(time)])
                scale = (1 + level**2) ** 0.5
            x0 = exact(state * scale, torch.tensor(level))
            eps = (state * scale - x0) / level
            state = walk.step(eps - x0 if walk.units == "flow" else eps, i, state, {})
        error.append(float((state - fine).abs().max()))
    assert error[1] < error[0] / 6 and error[1] < 0.02  # of order 2: a sixteenth, but for the last step


def test_the_example_runs_as_it_stands(capsys):
    runpy.run_path(str(plugins.ROOT / "examples" / "diffusers_pipeline.py"))
    assert capsys.readouterr().out.count("PIL.Image") == 4
