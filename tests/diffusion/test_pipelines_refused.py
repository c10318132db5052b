"""What ExpresswayPipeline is given and does not take is refused in one line; labels are those that were asked for."""

import pytest
import torch
from test_expressway_pipeline import BETAS, CLASSES, PIPELINES, OfClasses, diffusers, dit, quiet, unet, vae, wrapped

import dpmot
from dpmot.diffusion import midway
from dpmot.starts import Points

pytestmark = pytest.mark.usefixtures("one_thread")
DDIM = diffusers.DDIMScheduler(**BETAS, clip_sample=False)
LEVEL = wrapped.level(DDIM, 1.0)
LABELS = torch.arange(12) % CLASSES


class Way:
    """What ExpresswayPipeline asks of an expressway: the first coordinate of noise chooses the image."""

    source_measure = "normal"

    def __init__(self, shape=(1, 8, 8), labels=None, sigma=LEVEL):
        torch.manual_seed(1)
        self.shape, self.labels, self.sigma = shape, labels, sigma
        self.images = torch.rand(12, *shape) * 2 - 1

    def points(self, noise):
        source = (torch.special.ndtr(noise.flatten(1)[:, 0]) * 12).long().clamp(0, 11)
        x = self.images[source] + self.sigma * noise
        return Points(x, source, labels=None if self.labels is None else self.labels[source])


def plain(**options):
    return quiet(diffusers.DDPMPipeline(unet(**options), diffusers.DDPMScheduler(**BETAS)))


class WithText(diffusers.DiffusionPipeline):
    def __init__(self, unet, scheduler, text_encoder):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, text_encoder=text_encoder)


class Checked(diffusers.DiffusionPipeline):
    def __init__(self, unet, scheduler, safety_checker):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, safety_checker=safety_checker)


def shifted():
    made = vae()
    made.register_to_config(shift_factor=0.1)
    return made


CONSTRUCTED = {  # what is wrapped -> what is said
    "no pipeline": (lambda: (unet(), Way()), "UNet2DModel has no parts"),
    "a scheduler": (lambda: (DDIM, Way()), "DDIMScheduler has no parts"),
    "a text encoder": (
        lambda: (WithText(unet(), DDIM, torch.nn.Linear(1, 1)), Way()),
        "has text_encoder, which is not",
    ),
    "a safety checker": (lambda: (Checked(unet(), DDIM, torch.nn.Linear(1, 1)), Way()), "has safety_checker, which"),
    "another network": (
        lambda: (
            OfClasses(
                diffusers.UNet2DConditionModel(
                    **{"sample_size": 8, "block_out_channels": (8,), "norm_num_groups": 4, "layers_per_block": 1},
                    down_block_types=("DownBlock2D",),
                    up_block_types=("UpBlock2D",),
                ),
                DDIM,
            ),
            Way(),
        ),
        r"has unet \(UNet2DConditionModel\), scheduler",
    ),
    "classes by time": (lambda: (plain(class_embed_type="timestep"), Way()), "class_embed_type timestep: only labels"),
    "classes as they are": (lambda: (plain(class_embed_type="identity"), Way()), "class_embed_type identity"),
    "a shifted vae": (
        lambda: (diffusers.DiTPipeline(dit(), shifted(), DDIM), Way((2, 4, 4))),
        "shift_factor of its vae",
    ),
    "images of another size": (
        lambda: (plain(), Way((1, 28, 28))),
        r"images \(1, 28, 28\), the network sees \(1, 8, 8\)",
    ),
    "images in colour": (lambda: (plain(), Way((3, 8, 8))), r"is of images \(3, 8, 8\)"),
    "no size": (lambda: (plain(sample_size=None), Way()), "does not say its sample_size"),
    "images for latents": (
        lambda: (diffusers.DiTPipeline(dit(), vae(), DDIM), Way()),
        r"latents \(2, 4, 4\): encode the images first, by dpmot.diffusers.encode",
    ),
    "labels beyond the classes": (
        lambda: (OfClasses(unet(num_class_embeds=CLASSES), DDIM), Way(labels=LABELS + 1)),
        "labels up to 3, the network 3 classes",
    ),
}


@pytest.mark.parametrize("case", CONSTRUCTED)
def test_a_pipeline_that_would_not_be_run_whole_is_refused_by_name(case):
    make, said = CONSTRUCTED[case]
    with pytest.raises(ValueError, match=said) as caught:
        wrapped.ExpresswayPipeline(*make())
    assert "\n" not in str(caught.value)


def test_uniform_noise_is_refused():
    way = Way()
    way.source_measure = "uniform"
    with pytest.raises(ValueError, match=r"takes uniform noise; solve one with source_measure"):
        wrapped.ExpresswayPipeline(plain(), way)


CALLED = {  # call of a pipeline without classes -> what is said
    "labels": ({"class_labels": [1]}, "class_labels: the network has no classes"),
    "guidance": ({"guidance_scale": 2.0}, "only DiT's network has a label of no class"),
    "two numbers": ({"batch_size": 2, "latents": torch.zeros(3, 1, 8, 8)}, "latents says 3, batch_size says 2"),
    "none": ({"batch_size": 0}, "batch_size says 0"),
    "no steps": ({"num_inference_steps": 0}, "num_inference_steps is 0; give a whole number"),
    "half a step": ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
    "too many steps": ({"num_inference_steps": 600}, "600 steps do not fit between"),
    "an output": ({"output_type": "jpg"}, "output_type is 'jpg'; choose one of pil, np, pt, latent"),
    "an option": ({"eta": 0.5}, "DDPMScheduler takes no eta; its step takes generator"),
    "few generators": ({"batch_size": 2, "generator": [torch.Generator()]}, "There are 1 generators for more samples"),
}


@pytest.mark.parametrize("case", CALLED)
def test_a_call_that_cannot_be_followed_is_refused(case):
    options, said = CALLED[case]
    with pytest.raises(ValueError, match=said):
        wrapped.ExpresswayPipeline(plain(), Way())(**options)


SCHEDULERS = {  # a scheduler -> what is said
    "PNDM": (lambda: diffusers.PNDMScheduler(**BETAS), "PNDMScheduler cannot .* = DEISMultistepScheduler.from_config"),
    "KDPM2": (lambda: diffusers.KDPM2DiscreteScheduler(), "= HeunDiscreteScheduler.from_config"),
    "LCM": (lambda: diffusers.LCMScheduler(), "= DDIMScheduler.from_config"),
    "a score's": (lambda: diffusers.ScoreSdeVeScheduler(), "dpmot.sample with dpmot.diffusers.denoiser"),
    "of another kind": (lambda: diffusers.VQDiffusionScheduler(4), "VQDiffusionScheduler cannot begin at a given"),
    "beta levels": (lambda: diffusers.EulerDiscreteScheduler(use_beta_sigmas=True), "use_beta_sigmas is True, which"),
    "flow in a solver": (
        lambda: diffusers.DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
        "use_flow_sigmas is True",
    ),
    "shifted as it goes": (
        lambda: diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "use_dynamic_shifting is True",
    ),
}


@pytest.mark.parametrize("case", SCHEDULERS)
def test_a_scheduler_that_cannot_begin_midway_names_one_that_can(case):
    make, said = SCHEDULERS[case]
    try:
        scheduler = make()
    except ImportError:
        pytest.skip("needs scipy's beta")
    with pytest.raises(ValueError, match=said):
        midway.Midway(scheduler, 1.0, 5)


def test_a_level_between_those_of_whole_times_is_refused_with_the_nearest():
    between = (LEVEL + midway.levels_of(DDIM)[midway.levels_of(DDIM).searchsorted(LEVEL) + 1]) / 2
    pipeline = wrapped.ExpresswayPipeline(plain(), Way(sigma=between))
    with pytest.raises(ValueError, match=r"is none of the levels of DDPMScheduler.*nearest is (0.99|1.00)"):
        pipeline()
    pipeline.pipeline.scheduler = diffusers.EulerDiscreteScheduler(**BETAS)
    assert len(pipeline(output_type="pt").images) == 1
    with pytest.raises(ValueError, match=r"sigma_M = 500 lies outside the levels of DDIMScheduler, \[0.01, 157.4\]"):
        wrapped.level(DDIM, 500)


def test_a_chain_without_signal_at_its_end_begins_below_it():
    scheduler = diffusers.DDIMScheduler(**BETAS, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    sigma = wrapped.level(scheduler, 1.0)
    assert midway.levels_of(scheduler)[-1] < float("inf") and abs(sigma - 1) < 0.01
    pipeline = quiet(diffusers.DDIMPipeline(unet(), scheduler))
    assert wrapped.ExpresswayPipeline(pipeline, Way(sigma=sigma))(output_type="pt").images.isfinite().all()
    with pytest.raises(ValueError, match="rescale_betas_zero_snr is True, which changes the denoiser"):
        wrapped.denoiser(pipeline)


def of_classes(labels=LABELS):
    pipeline = quiet(OfClasses(unet(num_class_embeds=CLASSES), DDIM))
    return wrapped.ExpresswayPipeline(pipeline, Way(labels=labels))


def told(pipeline, monkeypatch, **call):
    """The labels that the network was told in a call."""
    seen, real = [], wrapped.adapters.answer
    monkeypatch.setattr(
        wrapped.adapters, "answer", lambda *given, **more: (seen.append(given[3]), real(*given, **more))[1]
    )
    images = pipeline(**{"output_type": "latent", "num_inference_steps": 2, **call}).images
    assert len(images) == len(seen[0])
    return seen[0]


def test_labels_follow_the_stored_images_where_none_are_given(monkeypatch):
    pipeline, noise = of_classes(), torch.randn(20, 1, 8, 8)
    assert torch.equal(told(pipeline, monkeypatch, latents=noise), pipeline.way.points(noise).labels)


@pytest.mark.parametrize("given", [2, [0, 2, 1, 1, 0], torch.tensor([1, 1, 2, 0, 0])])
def test_labels_that_are_given_are_those_of_the_stored_images_behind(given, monkeypatch):
    pipeline, drawn = of_classes(), []
    points = pipeline.way.points
    pipeline.way.points = lambda noise: (drawn.append(points(noise)), drawn[-1])[1]
    batch = {"batch_size": 5} if isinstance(given, int) else {}
    labels = told(pipeline, monkeypatch, class_labels=given, generator=torch.Generator().manual_seed(0), **batch)
    assert labels.tolist() == torch.as_tensor(given).expand(5).tolist()
    assert torch.equal(drawn[0].labels, labels)  # where another image was met, its row was drawn again


def test_labels_of_an_expressway_without_any_are_the_users(monkeypatch):
    assert told(of_classes(None), monkeypatch, class_labels=[2, 0, 1]).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="The network knows 3 classes: give class_labels, or solve an expressway with"):
        of_classes(None)(batch_size=2)


WRONG_LABELS = {
    "beyond": ([3], "give whole numbers from 0 to 2"),
    "below": ([-1], "give whole numbers from 0 to 2"),
    "fractions": ([0.5], "give whole numbers from 0 to 2"),
    "two dimensions": ([[1], [2]], "one a sample"),
    "names": (["cat"], r"class_labels are \['cat'\]; give whole numbers"),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_labels_that_no_class_has_are_refused(case):
    given, said = WRONG_LABELS[case]
    with pytest.raises(ValueError, match=said):
        of_classes()(class_labels=given)


def test_a_label_that_no_stored_image_has_is_refused():
    with pytest.raises(ValueError, match="no stored image of the expressway has label 1"):
        of_classes(LABELS * 2 % 4)(class_labels=[1])
    with pytest.raises(ValueError, match="starts at an image of another label; leave one of them out"):
        of_classes()(class_labels=[0, 1, 2], latents=torch.zeros(3, 1, 8, 8))


def test_a_generator_a_sample_gives_each_sample_what_it_has_alone():
    pipeline = wrapped.ExpresswayPipeline(plain(), Way())
    many = pipeline(generator=[torch.Generator().manual_seed(k) for k in range(3)], batch_size=3, output_type="latent")
    for k in range(3):
        alone = pipeline(generator=[torch.Generator().manual_seed(k)], output_type="latent")
        torch.testing.assert_close(many.images[k], alone.images[0], rtol=0, atol=1e-5)


def test_a_learned_variance_is_for_the_scheduler_that_draws_with_it():
    for name in ("DDPMScheduler", "DPMSolverMultistepScheduler"):
        scheduler = getattr(diffusers, name)(**BETAS, variance_type="learned_range")
        pipeline = wrapped.ExpresswayPipeline(quiet(diffusers.DDPMPipeline(unet(out_channels=2), scheduler)), Way())
        assert pipeline(output_type="latent", num_inference_steps=3).images.shape == (1, 1, 8, 8)


def test_half_precision_runs_and_its_state_is_whole():
    pipeline = wrapped.ExpresswayPipeline(plain(), Way()).to(torch.bfloat16)
    images = pipeline(output_type="latent", num_inference_steps=3).images
    assert images.dtype == torch.float32 and pipeline.network.dtype == torch.bfloat16


def test_a_network_with_one_label_more_than_classes_is_guided_where_that_is_stated():
    pipeline = quiet(OfClasses(unet(num_class_embeds=CLASSES + 1), DDIM))
    denoiser, x = wrapped.denoiser(pipeline, guidance=2.0), torch.randn(2, 1, 8, 8)
    sigma, labels = torch.tensor(LEVEL), torch.tensor([0, 2])
    as_it_is = wrapped.denoiser(pipeline)
    some, none = as_it_is(x, sigma, labels), as_it_is(x, sigma, torch.tensor([3, 3]))
    torch.testing.assert_close(denoiser(x, sigma, labels), none + 2 * (some - none), rtol=0, atol=1e-5)
    assert torch.equal(wrapped.denoiser(pipeline, guidance=0)(x, sigma, labels), none)
    with pytest.raises(ValueError, match="guidance 2 needs a network with classes that has a label of no class"):
        wrapped.denoiser(plain(), guidance=2.0)


def test_images_are_encoded_as_the_pipeline_decodes_them():
    pipeline = quiet(PIPELINES["latents"](DDIM))
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    latents = wrapped.encode(pipeline, images, batch=2)
    with torch.no_grad():
        expected = 0.5 * pipeline.vae.encode(images / 127.5 - 1).latent_dist.mode()
    torch.testing.assert_close(latents, expected, rtol=0, atol=1e-5)
    drawn = wrapped.encode(pipeline, images, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(drawn, latents) and latents.dtype == torch.float32


ENCODED = {
    "pixels": (plain, torch.zeros(2, 1, 8, 8), "DDPMPipeline has no vae: its network sees images"),
    "beyond -1..1": (None, torch.full((2, 1, 8, 8), 255.0), r"outside \[-1, 1\] or NaN; give uint8"),
    "NaN": (None, torch.full((2, 1, 8, 8), float("nan")), "or NaN"),
    "none": (None, torch.zeros(0, 1, 8, 8), r"give a tensor \(n, C, H, W\)"),
    "integers": (None, torch.zeros(2, 1, 8, 8, dtype=torch.int64), "int64"),
    "another size": (
        None,
        torch.zeros(2, 1, 16, 16),
        r"give latents \(2, 8, 8\), the network sees \(2, 4, 4\): resize",
    ),
}


@pytest.mark.parametrize("case", ENCODED)
def test_images_that_are_not_a_pipelines_are_refused(case):
    make, images, said = ENCODED[case]
    with pytest.raises(ValueError, match=said):
        wrapped.encode(make() if make else PIPELINES["latents"](DDIM), images)


def test_any_sampler_of_ours_draws_from_a_pipeline():
    images = torch.rand(20, 1, 8, 8) * 2 - 1
    way = dpmot.expressway(images, LEVEL, chi2=0.3, max_noises=10_000)
    found = dpmot.sample(wrapped.denoiser(plain()), way, "dpm_solver_pp", nfe=4, num_samples=3)
    assert found.nfe == 4 and found.x0.isfinite().all()
