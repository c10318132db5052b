"""Folders of diffusers: a network is to the last digit what diffusers itself computes with it, or is refused by key."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_caller_state import STATES

from dpmot._torchvision import make_importable
from dpmot.diffusion import network, weights

pytestmark = pytest.mark.usefixtures("one_thread")
diffusers = pytest.importorskip("diffusers")
make_importable()
MODELS = {
    "plain": {},
    "of classes": {"num_class_embeds": 3},
    "with a learned variance": {"out_channels": 2},
    "with dropout": {"dropout": 0.5},
    "of scores": {"time_embedding_type": "fourier", "center_input_sample": True},
}
LABELS = torch.tensor([2, 0])
LEVELS = 12


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny networks with random weights: their folders and themselves."""
    made, folder = {}, tmp_path_factory.mktemp("models")
    for name, options in MODELS.items():
        torch.manual_seed(0)
        model = diffusers.UNet2DModel(
            **{"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, **options},
            block_out_channels=(8,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            attention_head_dim=4,
            norm_num_groups=4,
        ).eval()
        model.save_pretrained(folder / name)
        made[name] = folder / name, model
    return made


@pytest.fixture
def placed(models, tmp_path):
    """A function that puts a network and a scheduler, changed by keys, into one folder."""

    def place(scheduler, model="plain", **changes):
        shutil.copytree(models[model][0], tmp_path / "unet")
        scheduler.save_pretrained(tmp_path / "scheduler")
        file = tmp_path / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
        return tmp_path

    return place


def denoiser_of(folder, kind, options):
    facts, tensors = weights.read_folder(folder, kind, options)
    card = {"kind": kind, "options": options, "unet": {}, **facts}
    return network.NetworkDenoiser(network.parametrisation(card), network.build(card, tensors))


def vp(scheduler, model):
    """Their x0 at levels of the chain, in their units and in ours: (sigma, x, x0)."""
    config = {**scheduler.config, "clip_sample": False, "thresholding": False, "_use_default_values": []}
    config["trained_betas"] = scheduler.betas.tolist()  # DDIM's knows fewer schedules than DDPM's
    stepping = diffusers.DDIMScheduler.from_config(config)  # the prediction means the same in all of them
    count = scheduler.config.num_train_timesteps
    for t in np.linspace(0, count - 1, LEVELS).astype(int):
        abar = scheduler.alphas_cumprod[t].double()
        x = torch.randn(2, 1, 8, 8)
        stepping.num_inference_steps = count
        x0 = stepping.step(model(x, t), int(t), x).pred_original_sample
        yield ((1 - abar) / abar).sqrt(), x / abar.sqrt(), x0


def edm(scheduler, model):
    low, high = np.log(scheduler.config.sigma_min), np.log(scheduler.config.sigma_max)
    for sigma in torch.linspace(low, high, LEVELS, dtype=torch.float64).exp().float():
        x = (1 + sigma) * torch.randn(2, 1, 8, 8)
        raw = model(scheduler.precondition_inputs(x, sigma), scheduler.precondition_noise(sigma))
        yield sigma, x, scheduler.precondition_outputs(x, raw, sigma)


def consistency(scheduler, model):
    scheduler.set_timesteps(LEVELS)
    for sigma, t in zip(scheduler.sigmas[:-1].float(), scheduler.timesteps, strict=True):
        x = (1 + sigma) * torch.randn(2, 1, 8, 8)
        skip, out = scheduler.get_scalings_for_boundary_condition(sigma)
        scheduler._step_index = None
        yield sigma, x, out * model(scheduler.scale_model_input(x, t), t) + skip * x


def flow(scheduler, model):
    for t in np.linspace(0.001, 0.999, LEVELS):
        scheduler.set_timesteps(sigmas=[t]) if "sigmas" in scheduler.set_timesteps.__code__.co_varnames else None
        at, time = scheduler.sigmas[0], scheduler.timesteps[0]
        x = torch.randn(2, 1, 8, 8)
        scheduler._step_index, scheduler._begin_index = None, 0
        x0 = scheduler.step(model(x, time), time, x).prev_sample  # one step to 0
        yield at / (1 - at), x / (1 - at), x0


def score(scheduler, model):
    """As ScoreSdeVePipeline calls its network, on images in [0, 1]."""
    low, high = np.log(scheduler.config.sigma_min), np.log(scheduler.config.sigma_max)
    for sigma in torch.linspace(low, high, LEVELS, dtype=torch.float64).exp().float():
        u = torch.rand(2, 1, 8, 8) + sigma * torch.randn(2, 1, 8, 8)
        x0 = u + sigma**2 * model(u, sigma * torch.ones(2))
        yield 2 * sigma, 2 * u - 1, 2 * x0 - 1


def karras_ve(scheduler, model):
    """As KarrasVePipeline calls it."""
    scheduler.set_timesteps(LEVELS)
    for sigma in torch.linspace(-3.9, 4.6, LEVELS).exp():
        x = (1 + sigma) * torch.randn(2, 1, 8, 8)
        output = (sigma / 2) * model((x + 1) / 2, sigma / 2)
        yield sigma, x, scheduler.step(output, sigma, 0, x).pred_original_sample


ORACLES = {"ScoreSdeVe": score, "KarrasVe": karras_ve, "DDPM": vp, "EDM": edm, "CM": consistency, "FlowMatch": flow}


def oracle(scheduler):
    return next((one for name, one in ORACLES.items() if type(scheduler).__name__.startswith(name)), vp)


LINEAR = np.linspace(1e-5, 0.5, 1000).tolist()
PREDICTIONS = ("epsilon", "v_prediction", "sample")
VP_ONLY = ("PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "LMSDiscrete", "DPMSolverMultistep", "UniPCMultistep",
           "DPMSolverSinglestep", "DEISMultistep")  # fmt: skip
HEUN = {"beta_min": 0.00085, "beta_max": 0.012}  # their default
BETAS = {"num_levels": 200, "beta_min": 2e-4, "beta_max": 0.03}
AGREES = {  # what is in the folder -> (kind, options, scheduler, network)
    **{
        f"{name}, {prediction}": (
            "ddpm",
            {"prediction": prediction},
            lambda name=name, prediction=prediction: getattr(diffusers, f"{name}Scheduler")(prediction_type=prediction),
            "plain",
        )
        for name in ("DDPM", "DDIM", "DPMSolverMultistep", "EulerDiscrete")
        for prediction in PREDICTIONS
    },
    **{
        f"{name}": ("ddpm", {}, lambda name=name: getattr(diffusers, f"{name}Scheduler")(), "plain") for name in VP_ONLY
    },
    "Heun, whose default betas are others": ("ddpm", HEUN, lambda: diffusers.HeunDiscreteScheduler(), "plain"),
    **{
        f"betas of its own, {schedule}": (
            "ddpm",
            {**BETAS, "schedule": schedule},
            lambda schedule=schedule: diffusers.DDPMScheduler(200, 2e-4, 0.03, beta_schedule=schedule),
            "plain",
        )
        for schedule in ("linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2")
    },
    "what only samples": (
        "ddpm",
        {},
        lambda: diffusers.DDIMScheduler(
            clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing"
        ),
        "plain",
    ),
    "a learned variance": (
        "ddpm",
        {},
        lambda: diffusers.DDPMScheduler(variance_type="learned_range"),
        "with a learned variance",
    ),
    "classes": ("ddpm", {}, lambda: diffusers.DDPMScheduler(), "of classes"),
    "dropout": ("ddpm", {}, lambda: diffusers.DDPMScheduler(), "with dropout"),
    **{
        f"{name}, {prediction}": (
            "edm",
            {"prediction": prediction, "sigma_data": 0.7, "sigma_min": 0.01, "sigma_max": 50.0},
            lambda name=name, prediction=prediction: getattr(diffusers, f"{name}Scheduler")(
                sigma_data=0.7, sigma_min=0.01, sigma_max=50.0, prediction_type=prediction
            ),
            "plain",
        )
        for name in ("EDMEuler", "EDMDPMSolverMultistep")
        for prediction in ("epsilon", "v_prediction")
    },
    "EDM, another grid": (
        "edm",
        {},
        lambda: diffusers.EDMEulerScheduler(sigma_schedule="exponential", num_train_timesteps=500),
        "of classes",
    ),
    "a consistency model": (
        "edm",
        {"boundary": 0.002},
        lambda: diffusers.CMStochasticIterativeScheduler(),
        "plain",
    ),
    **{
        f"flow, {options}": (
            "flow",
            {},
            lambda options=options: diffusers.FlowMatchEulerDiscreteScheduler(**options),
            "of classes" if options else "plain",
        )
        for options in ({}, {"shift": 3.0}, {"use_dynamic_shifting": False, "base_shift": 0.3})
    },
    **{
        f"the score of a variance-exploding SDE, {network}": (
            "ve",
            {"num_levels": 1000, "sigma_min": 0.02, "sigma_max": 100.0},
            lambda: diffusers.ScoreSdeVeScheduler(1000, sigma_max=50.0, correct_steps=2),
            network,
        )
        for network in ("of scores", "plain")
    },
    "Karras' sampler of such a score": (
        "ve",
        {"sigma_max": 100.0},
        lambda: diffusers.KarrasVeScheduler(),
        "of scores",
    ),
    "flow of 500 levels": (
        "flow",
        {"num_levels": 500},
        lambda: diffusers.FlowMatchEulerDiscreteScheduler(500),
        "plain",
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("case", AGREES)
def test_a_folder_of_diffusers_computes_what_diffusers_computes(case, models, placed):
    kind, options, make, name = AGREES[case]
    scheduler, theirs = make(), models[name][1]
    labels = {"class_labels": LABELS} if name == "of classes" else {}
    denoiser = denoiser_of(placed(scheduler, name), kind, options)

    def model(x, t):
        return theirs(x, t, **labels).sample[:, :1]

    sigma, x, x0 = zip(*oracle(scheduler)(scheduler, model), strict=True)
    assert len(sigma) == LEVELS
    levels = torch.tensor([float(level) for level in sigma]).repeat_interleave(2)
    found = denoiser(torch.cat(x).float(), levels, LABELS.repeat(LEVELS) if labels else None).split(2)
    for ours, right in zip(found, x0, strict=True):
        torch.testing.assert_close(ours, right.float(), rtol=0, atol=1e-4 * float(right.abs().max()))


REFUSED = {  # what is in the folder -> (kind, options, scheduler, keys changed, what is said)
    "EDM's scheduler, kind ddpm": ("ddpm", {}, "EDMEuler", {}, "_class_name is EDMEulerScheduler, .*of kind edm"),
    "DDPM's scheduler, kind edm": ("edm", {}, "DDPM", {}, "_class_name is DDPMScheduler, .*of kind ddpm"),
    "a flow, kind ddpm": ("ddpm", {}, "FlowMatchEulerDiscrete", {}, "_class_name is FlowMatch.*of kind flow"),
    "DDIM's scheduler, kind flow": ("flow", {}, "DDIM", {}, "_class_name is DDIMScheduler, .*of kind ddpm"),
    "a scheduler of something else": ("ddpm", {}, "CogVideoXDDIM", {}, "_class_name is CogVideoXDDIM.*but only"),
    "LCM's boundary": ("ddpm", {}, "LCM", {}, "_class_name is LCMScheduler"),
    "trained betas": ("ddpm", {}, "DDPM", {"trained_betas": LINEAR}, r"trained_betas is \[1e-05, .* is not read"),
    "zero terminal SNR": ("ddpm", {}, "DDIM", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
    "v where epsilon is told": ("ddpm", {}, "DDPM", {"prediction_type": "v_prediction"}, "prediction_type is v_pred"),
    "epsilon where x0 is told": ("ddpm", {"prediction": "sample"}, "DDPM", {}, "prediction_type is epsilon, the net"),
    "betas": ("ddpm", {}, "DDPM", {"beta_end": 0.012}, "beta_end is 0.012, the network's options say beta_max 0.02"),
    "another schedule": ("ddpm", {}, "DDPM", {"beta_schedule": "sigmoid"}, "beta_schedule is sigmoid"),
    "levels": ("ddpm", {}, "DDPM", {"num_train_timesteps": 4000}, "num_train_timesteps is 4000, .*num_levels 1000"),
    "default betas of Heun": ("ddpm", {}, "HeunDiscrete", {}, "beta_start is 0.00085"),
    "continuous times": ("ddpm", {}, "EulerDiscrete", {"timestep_type": "continuous"}, "timestep_type is 'continuous'"),
    "flow in a solver": ("ddpm", {}, "DPMSolverMultistep", {"use_flow_sigmas": True}, "use_flow_sigmas is True"),
    "flow predicted": ("ddpm", {}, "UniPCMultistep", {"prediction_type": "flow_prediction"}, "prediction_type is flow"),
    "no integer": ("ddpm", {}, "DDPM", {"num_train_timesteps": 1000.0}, "diffusers makes no DDPMScheduler of it"),
    "an unknown key": ("ddpm", {}, "DDPM", {"snr_gamma": 5.0}, "snr_gamma is 5.0, which changes the denoiser"),
    "an earlier key": ("ddpm", {}, "DDPM", {"predict_epsilon": False}, "predict_epsilon is False"),
    "no variance was learned": (
        "ddpm",
        {},
        "DDPM",
        {"variance_type": "learned"},
        "variance_type is learned, .*no outp",
    ),
    "sigma_data": ("edm", {}, "EDMEuler", {"sigma_data": 1.0}, "sigma_data is 1.0, the network's options say .*0.5"),
    "sigma_max": ("edm", {}, "EDMEuler", {"sigma_max": 200.0}, "sigma_max is 200.0, the network's options say .*80"),
    "v of EDM": ("edm", {}, "EDMEuler", {"prediction_type": "v_prediction"}, "prediction_type is v_prediction"),
    "x0 of EDM": ("edm", {}, "EDMDPMSolverMultistep", {"prediction_type": "sample"}, "prediction_type is sample"),
    "a consistency model, no boundary": ("edm", {}, "CMStochasticIterative", {}, "give boundary 0.002"),
    "EDM with a boundary": ("edm", {"boundary": 0.002}, "EDMEuler", {}, "give boundary 0, not 0.002"),
    "another boundary": ("edm", {"boundary": 0.001}, "CMStochasticIterative", {}, "give boundary 0.002, not 0.001"),
    "time backwards": ("flow", {}, "FlowMatchEulerDiscrete", {"invert_sigmas": True}, "invert_sigmas is True"),
    "a score's levels": ("ve", {}, "ScoreSdeVe", {"sigma_max": 50.0}, "sigma_max is 100.0, the network's .*2696.0"),
    "a score, kind ddpm": ("ddpm", {}, "ScoreSdeVe", {}, "_class_name is ScoreSdeVe.*of kind ve"),
    "levels of a flow": ("flow", {"num_levels": 500}, "FlowMatchEulerDiscrete", {}, "num_train_timesteps is 1000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_scheduler_that_says_what_is_not_computed_is_refused_by_key(case, placed):
    kind, options, name, changes, said = REFUSED[case]
    folder = placed(getattr(diffusers, f"{name}Scheduler")(), **changes)
    with pytest.raises(ValueError, match=said) as caught:
        weights.read_folder(folder, kind, options)
    assert "scheduler_config.json" in str(caught.value) and "\n" not in str(caught.value)


CONFIGS = {  # changes of config.json -> what is said
    "an unknown key": ({"quantization_config": {"bits": 4}}, "quantization_config is .* does not know"),
    "classes by time": ({"class_embed_type": "timestep"}, "class_embed_type timestep: only num_class_embeds"),
    "classes as they are": ({"class_embed_type": "identity"}, "class_embed_type identity"),
    "learned times": ({"time_embedding_type": "learned", "num_train_timesteps": 9}, "time_embedding_type learned"),
    "times of score models": ({"time_embedding_type": "fourier"}, "time_embedding_type fourier"),
    "channels": ({"in_channels": 3}, "3 channels in, 1 out"),
    "a number of channels": ({"in_channels": "1"}, "in_channels is '1', which is no size"),
    "three sides": ({"sample_size": [8, 8, 8]}, r"sample_size is \[8, 8, 8\], which is no size"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_configuration_of_a_network_that_is_not_computed_is_refused_by_key(case, placed):
    changes, said = CONFIGS[case]
    folder = placed(diffusers.DDPMScheduler())
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        weights.read_folder(folder, "ddpm", {})


STEM = "diffusion_pytorch_model"


def split_up(folder, suffix="safetensors"):
    """The weights of a folder in two shards and an index, as diffusers writes large ones."""
    whole = folder / f"{STEM}.safetensors"
    tensors = load_file(whole)
    names, index = sorted(tensors), {}
    for k, part in enumerate((names[::2], names[1::2])):
        file = f"{STEM}-{k + 1:05}-of-00002.{suffix}"
        save = save_file if suffix == "safetensors" else torch.save
        save({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / f"{STEM}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    whole.unlink()


def halved(folder, variant="fp16"):
    tensors = {name: tensor.half() for name, tensor in load_file(folder / f"{STEM}.safetensors").items()}
    save_file(tensors, folder / f"{STEM}.{variant}.safetensors")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_one_network_and_each_of_them_an_input(placed, models, suffix):
    folder = placed(diffusers.DDPMScheduler())
    split_up(folder / "unet", suffix)
    _, tensors = weights.read_folder(folder, "ddpm", {})
    assert all(torch.equal(tensors[f"unet.{name}"], t) for name, t in models["plain"][1].state_dict().items())
    index, *rest = [file.name for file in weights.files(folder)]
    shards = [f"{STEM}-0000{k}-of-00002.{suffix}" for k in (1, 2)]
    assert index.endswith(".index.json") and rest == [*shards, "config.json", "scheduler_config.json"]
    (folder / "unet" / shards[1]).unlink()
    with pytest.raises(ValueError, match=rf"names {shards[1]}, which is not beside it: download all shards"):
        weights.files(folder)


def test_whole_precision_goes_before_a_variant_and_both_are_said(placed, models, capsys):
    folder = placed(diffusers.DDPMScheduler())
    halved(folder / "unet")
    _, whole = weights.read_folder(folder, "ddpm", {})
    assert f"{STEM}.safetensors is read, not {STEM}.fp16.safetensors beside it" in capsys.readouterr().out
    (folder / "unet" / f"{STEM}.safetensors").unlink()
    _, found = weights.read_folder(folder, "ddpm", {})
    assert "float16 becomes float32" in capsys.readouterr().out
    assert all(torch.equal(found[name], tensor.half().float()) for name, tensor in whole.items())
    (folder / "unet" / f"{STEM}.fp16.safetensors").rename(folder / "unet" / f"{STEM}.non_ema.safetensors")
    assert weights.weights_file(folder).name == f"{STEM}.non_ema.safetensors"
    shutil.copy(weights.weights_file(folder), folder / "unet" / f"{STEM}.fp16.bin")
    with pytest.raises(ValueError, match="holds the variants fp16, non_ema: leave the one to read there"):
        weights.weights_file(folder)


@pytest.mark.parametrize("state", STATES)
def test_what_the_caller_set_for_all_code_changes_nothing(state, placed, models):
    folder = placed(diffusers.LMSDiscreteScheduler())
    x = torch.randn(2, 1, 8, 8)
    sigma = torch.tensor(0.7)
    expected = denoiser_of(folder, "ddpm", {})(x, sigma).detach()
    with STATES[state]():
        found = denoiser_of(folder, "ddpm", {})(x, sigma)
    assert torch.equal(found.detach(), expected)


@pytest.mark.parametrize("prefix", ["module.", "unet.", "_orig_mod."])
def test_a_prefix_before_the_names_of_diffusers_is_taken_off(placed, models, prefix):
    file = placed(diffusers.DDPMScheduler()) / "unet" / f"{STEM}.safetensors"
    save_file({prefix + name: tensor for name, tensor in load_file(file).items()}, file)
    _, found = weights.read_folder(file.parent, "ddpm", {})
    assert all(torch.equal(found[f"unet.{name}"], t) for name, t in models["plain"][1].state_dict().items())


@pytest.mark.parametrize("part", ["text_encoder", "mel", "safety_checker"])
def test_a_pipeline_with_parts_that_are_not_read_is_refused_and_one_of_images_is_not(part, placed):
    folder = placed(diffusers.DDPMScheduler())
    index = {"_class_name": "P", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({**index, part: [None, None]}))
    assert "latents" not in weights.read_folder(folder, "ddpm", {})[0]
    (folder / "model_index.json").write_text(json.dumps({**index, part: ["diffusers", "X"]}))
    for place in (folder, folder / "unet"):
        with pytest.raises(ValueError, match=f"model_index.json describes a P with {part}; only pipelines of a UNet2D"):
            weights.read_folder(place, "ddpm", {})


@pytest.mark.parametrize("part", ["vae", "vqvae"])
def test_a_pipeline_of_latents_says_that_its_network_sees_no_images(part, placed):
    folder = placed(diffusers.DDPMScheduler())
    index = {"_class_name": "P", "unet": ["diffusers", "UNet2DModel"], part: ["diffusers", "X"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    for place in (folder, folder / "unet"):
        assert weights.read_folder(place, "ddpm", {})[0]["latents"] == part


def test_what_is_kept_of_a_folder_is_the_same_each_time(placed):
    folder = placed(diffusers.DDPMScheduler())
    first, second = (weights.read_folder(folder, "ddpm", {})[0] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["unet", "model", "."])
def test_the_scheduler_of_a_pipeline_counts_where_its_network_alone_is_named(name, placed, monkeypatch):
    folder = placed(diffusers.DDPMScheduler(prediction_type="sample"))
    here = (folder / "unet").rename(folder / (name if name != "." else "unet"))
    monkeypatch.chdir(here)
    with pytest.raises(ValueError, match="prediction_type is sample"):
        weights.read_folder(Path(".") if name == "." else here, "ddpm", {})


def test_what_is_decided_for_the_user_is_said(placed, capsys):
    folder = placed(diffusers.DDPMScheduler())
    weights.read_folder(folder, "ddpm", {})
    assert "clip_sample is of diffusers' sampler; the denoiser is not clipped" in capsys.readouterr().out
    shutil.rmtree(folder / "scheduler")
    weights.read_folder(folder, "ddpm", {})
    assert "has no scheduler_config.json: what the options of kind ddpm say is not compared" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "labels"), [("of classes", None), ("plain", LABELS)])
def test_labels_are_asked_for_and_refused_as_the_network_is(placed, name, labels):
    denoiser = denoiser_of(placed(diffusers.DDPMScheduler(), name), "ddpm", {})
    with pytest.raises(ValueError, match=r"knows 3 classes, labels missing|knows 0 classes, labels given"):
        denoiser(torch.zeros(2, 1, 8, 8), torch.tensor(1.0), labels)
