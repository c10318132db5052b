"""DiT in the workflow: trained from pixels, loaded from diffusers' folders, guided, and fetched by its repository."""

import json
import shutil

import pytest
import torch

from dpmot._torchvision import make_importable
from dpmot.diffusion import hub, network, schedulers
from dpmot.experiment.config import ConfigError, describe, load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import prepare, sample, solve, train
from dpmot.runtime import seals

pytestmark = pytest.mark.usefixtures("one_thread")
diffusers = pytest.importorskip("diffusers")
make_importable()
SMALL = {"patch": 2, "width": 16, "depth": 1, "heads": 2, "classes": 10}
METHODS = {
    "ours": {"network": "dit", "start": "transport", "sampler": "ddim", "level": 1.0},
    "rival": {"network": "dit", "sampler": "ddim"},
}


def configured(dit, *more, methods=METHODS, **changes):
    base = {
        **{"experiment": "x", "dataset": "digits", "nfe_budgets": [4], "num_samples": 30, "sample_seeds": [0]},
        **{"networks": {"dit": dit}, "methods": methods, "num_atoms": 60, "transport": {"chi2": 0.5}},
    }
    return load([], [f"{key}={json.dumps(value)}" for key, value in {**base, **changes}.items()])


def saved(folder, name="DiTPipeline", scheduler=None, **options):
    """A pipeline of diffusers with a small transformer on pixels of digits, as its authors would train one."""
    torch.manual_seed(0)
    model = diffusers.DiTTransformer2DModel(
        **{"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 1, "out_channels": 2, "num_layers": 1},
        **{"sample_size": 8, "patch_size": 1, "num_embeds_ada_norm": 10, "norm_num_groups": 1, **options},
    ).eval()
    for key, parameter in model.named_parameters():
        if "linear" in key or "proj_out" in key:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder / "transformer")
    scheduler = scheduler or diffusers.DDIMScheduler(clip_sample=False)
    scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": name, "_diffusers_version": "0.42.1", "transformer": ["diffusers", type(model).__name__]}
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return model


def trained(tmp_path, config):
    """Jobs and layout, with data and network there."""
    layout = Layout(tmp_path)
    jobs = Jobs(config, layout)
    prepare.run(jobs.prepare(), layout)
    train.run(jobs.train("dit"), layout)
    return jobs, layout


def test_a_transformer_trains_from_pixels_and_samples_by_class_from_both_starts(tmp_path):
    training = {"steps": 6, "label_dropout": 0.1}
    methods = {name: {**method, "guidance": 1.5} for name, method in METHODS.items()}
    given = {"kind": "dit", "options": SMALL, "training": training}
    jobs, layout = trained(tmp_path, configured(given, methods=methods))
    solve.run(jobs.solve(), layout)
    loaded = network.load(layout.network("dit"))
    assert loaded.classes == loaded.no_class == 10 and loaded.card["trained"]["parameters"] < 20_000
    told = "guided by w = 1.5: a guided evaluation is 2 of the network"
    assert sum(told in line for line in describe(jobs.experiment)) == len(METHODS)
    for name in METHODS:
        sample.run(jobs.sample(name), layout)
        _, texts = seals.load(layout.samples(name))
        (cell,) = json.loads(texts["cells"])
        assert (cell["steps"], cell["nfe_counted"]) == (2, 4)


def test_a_transformer_of_diffusers_on_pixels_is_loaded_guided_and_sampled(tmp_path):
    theirs = saved(tmp_path / "dit")
    given = {"kind": "ddpm", "weights": str(tmp_path / "dit")}
    methods = {"ours": {**METHODS["ours"], "guidance": 3}}
    jobs, layout = trained(tmp_path, configured(given, methods=methods))
    loaded = network.load(layout.network("dit"))
    denoiser, labels = loaded.denoiser(4, 3.0), torch.tensor([3, 0, 9])
    sigma, x = torch.tensor(loaded.chain.levels[300]), torch.randn(3, 1, 8, 8)
    seen, time = x / (1 + sigma**2).sqrt(), torch.full((3,), 300)
    with torch.no_grad():
        some = theirs(seen.float(), timestep=time, class_labels=labels).sample[:, :1]
        none = theirs(seen.float(), timestep=time, class_labels=torch.full((3,), 10)).sample[:, :1]
        found = denoiser(x, sigma, labels)
    expected = x - sigma * (none + 3 * (some - none))
    assert (some - none).abs().max() > 0.05
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5 * float(expected.abs().max()))
    solve.run(jobs.solve(), layout)
    sample.run(jobs.sample("ours"), layout)


class Hub:
    """What stands for the hub: a folder, under the name of a repository."""

    def __init__(self, monkeypatch, folder):
        self.asked, self.folder = [], folder
        pipeline = diffusers.DiffusionPipeline
        monkeypatch.setattr(pipeline, "from_pretrained", classmethod(self.from_pretrained))
        monkeypatch.setattr(pipeline, "load_config", classmethod(self.load_config))

    def load_config(self, _, repository, **where):
        self.asked.append((repository, where))
        if where["local_files_only"]:
            raise OSError("We couldn't connect to 'https://huggingface.co'\nand it is not cached")
        return json.loads((self.folder / "model_index.json").read_text(encoding="utf-8"))

    def from_pretrained(self, _, repository, **options):
        self.asked.append((repository, options))
        part = diffusers.DiTTransformer2DModel.from_pretrained(self.folder / "transformer")
        scheduler = diffusers.DDIMScheduler.from_pretrained(self.folder / "scheduler")
        return Pixels(part, scheduler)


class Pixels(diffusers.DiffusionPipeline):
    def __init__(self, transformer, scheduler):
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)


CARD = {"kind": "ddpm", "card": "hf:them/dit-digits@a1b2c3"}


def test_a_repository_is_fetched_as_safetensors_at_its_revision_and_its_digest_kept(tmp_path, monkeypatch, capsys):
    theirs = saved(tmp_path / "hub")
    hub_ = Hub(monkeypatch, tmp_path / "hub")
    _, layout = trained(tmp_path, configured(CARD, download=True))
    kept = network.load(layout.network("dit"))
    assert [name for name, _ in hub_.asked] == ["them/dit-digits"] * 2
    options = hub_.asked[1][1]
    assert options == {"revision": "a1b2c3", "use_safetensors": True, "local_files_only": False}
    published = kept.card["published"]
    assert published["card"] == CARD["card"] and len(published["sha256"]) == 64 and not published["verified"]
    found = kept.denoiser(1).model.transformer.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in theirs.state_dict().items())
    told = f"{CARD['card']} is taken as it is; to pin it, networks.dit may say sha256: {published['sha256']}\n"
    assert told in capsys.readouterr().out
    again = configured({**CARD, "sha256": published["sha256"]}, download=True)
    train.run(Jobs(again, layout).train("dit"), layout)
    with pytest.raises(ValueError, match=r"has sha256 .* its card says 0000"):
        train.run(Jobs(configured({**CARD, "sha256": "0" * 64}, download=True), layout).train("dit"), layout)


def test_what_is_not_pinned_is_said(tmp_path, monkeypatch, capsys):
    saved(tmp_path / "hub")
    Hub(monkeypatch, tmp_path / "hub")
    with hub.fetched("hf:them/dit-digits", download=True) as folder:
        assert (folder / "transformer" / "diffusion_pytorch_model.safetensors").is_file()
    assert "hf:them/dit-digits is the repository's newest state: pin it by" in capsys.readouterr().out
    assert not folder.exists()


def test_without_leave_to_download_one_line_says_how_to_fetch_it(tmp_path, monkeypatch):
    saved(tmp_path / "hub")
    Hub(monkeypatch, tmp_path / "hub")
    with pytest.raises(ValueError, match="download is false") as caught, hub.fetched(CARD["card"], download=False):
        pass
    assert "hf download them/dit-digits --revision a1b2c3 --local-dir downloads/dit-digits" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_repository_of_something_else_is_refused_before_it_is_fetched(tmp_path, monkeypatch):
    saved(tmp_path / "hub")
    file = tmp_path / "hub" / "model_index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**index, "_class_name": "P", "text_encoder": ["transformers", "CLIPTextModel"]}))
    hub_ = Hub(monkeypatch, tmp_path / "hub")
    with pytest.raises(ValueError, match="is a P with text_encoder, which"), hub.fetched(CARD["card"], download=True):
        pass
    assert len(hub_.asked) == 1


WRONG = {  # what is given -> what is said
    "no kind": ({"card": "hf:them/dit"}, "networks.dit.kind: say what hf:them/dit is"),
    "no repository": ({"card": "hf:dit", "kind": "ddpm"}, "'hf:dit' is no repository; write hf:<owner>/<name>"),
    "training": ({"card": "hf:a/b", "kind": "ddpm", "training": {"steps": 1}}, "is fetched and not trained"),
    "guidance of a network": (
        {"kind": "dit", "options": {"guidance": 2.0}, "training": {"steps": 1}},
        "options.guidance: methods are guided, not networks: methods.<name>.guidance",
    ),
    "patches": ({"kind": "dit", "options": {"patch": 3}, "training": {"steps": 1}}, "options.patch: patches of 3"),
    "channels": (
        {"kind": "dit", "options": {"channels": 3}, "training": {"steps": 1}},
        "options.channels: 3, the data",
    ),
    "heads": (
        {"kind": "dit", "options": {"heads": 5}, "training": {"steps": 1}},
        "width is a multiple of 4 and of its",
    ),
    "the U-Net's options": ({"kind": "dit", "unet": {"channels": 8}, "training": {"steps": 1}}, "has a network of its"),
    "nothing to train or load": ({"kind": "dit"}, '"training" to train it or "weights"'),
    "a kind that is only loaded": ({"kind": "ve", "training": {"steps": 1}}, "kind ve is not trained here"),
    "a kind that is only loaded, alone": ({"kind": "ve"}, "kind ve is not trained here; give its weights"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_network_that_cannot_be_is_refused_when_it_is_planned(case):
    given, said = WRONG[case]
    with pytest.raises(ConfigError, match=said):
        configured(given)


def test_a_card_that_is_known_says_what_its_repository_is():
    found = configured({"card": "hf:google/ddpm-cifar10-32@main"}, dataset="digits").networks["dit"]
    assert found.kind == "ddpm" and found.options["num_levels"] == 1000 and found.how == "loaded"


def test_latents_are_refused_by_name_in_an_experiment_of_pixels(tmp_path):
    saved(tmp_path / "dit")
    file = tmp_path / "dit" / "model_index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**index, "vae": ["diffusers", "AutoencoderKL"]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"sees latents of shape \[1, 8, 8\], which its vae decodes"):
        trained(tmp_path, configured({"kind": "ddpm", "weights": str(tmp_path / "dit")}))


def test_transformers_published_under_their_former_name_are_read(tmp_path):
    saved(tmp_path / "dit")
    file = tmp_path / "dit" / "transformer" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    former = {"_class_name": "Transformer2DModel", "cross_attention_dim": None, "only_cross_attention": False}
    file.write_text(json.dumps({**config, **former}), encoding="utf-8")
    trained(tmp_path, configured({"kind": "ddpm", "weights": str(tmp_path / "dit")}))
    file.write_text(json.dumps({**config, **former, "num_vector_embeds": 8}), encoding="utf-8")
    with pytest.raises(ValueError, match="num_vector_embeds is 8, which this diffusers does not know"):
        trained(tmp_path, configured({"kind": "ddpm", "weights": str(tmp_path / "dit")}))


def test_the_kind_of_a_scheduler_is_what_its_network_is_compared_with():
    for kind, names in schedulers.KINDS.items():
        for name in (names[0], names[-1]):
            scheduler = getattr(diffusers, name)()
            said = {**scheduler.config, "_class_name": name}
            found, options = schedulers.described(said)
            assert found == kind
            schedulers.compare(name, said, kind, network.parametrisation({"kind": kind, "options": options}), False)


def changed(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


HOSTILE = {  # changes of the transformer's config.json -> what is said
    "quantised": ({"quantization_config": {"load_in_8bit": True}}, "quantization_config is .*does not know"),
    "PixArt's": (
        {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_single"},
        "describes a Transformer2DModel",
    ),
    "another class": ({"_class_name": "SD3Transformer2DModel"}, "only UNet2DModel and DiTTransformer2DModel are read"),
    "no class": ({"_class_name": None}, "describes a None, only"),
    "two sides": ({"sample_size": [8, 8]}, r"sample_size is \[8, 8\], which is no size"),
    "another size": ({"sample_size": 16}, r"was made for images of shape \[1, 16, 16\], the data set has \[1, 8, 8\]"),
    "three outputs": ({"out_channels": 3}, "1 channels in, 3 out: only kind ddpm may have twice as many"),
    "another depth": ({"num_layers": 2}, "tensors missing .*take weights and config.json from one place"),
    "other classes": ({"num_embeds_ada_norm": 5}, "size mismatch"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_transformers_folder_that_is_not_what_it_says_is_refused_by_name(case, tmp_path):
    saved(tmp_path / "dit")
    changes, said = HOSTILE[case]
    changed(tmp_path / "dit" / "transformer" / "config.json", **changes)
    with pytest.raises(ValueError, match=said) as caught:
        trained(tmp_path, configured({"kind": "ddpm", "weights": str(tmp_path / "dit")}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["transformer", "weights", "both"])
def test_a_part_that_is_missing_or_there_twice_is_told_when_it_is_planned(part, tmp_path):
    folder = tmp_path / "dit"
    saved(folder)
    if part == "both":
        shutil.copytree(folder / "transformer", folder / "unet")
    elif part == "weights":
        (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    else:
        shutil.rmtree(folder / part)
    said = "holds unet and transformer: name the folder" if part == "both" else "holds none of diffusion_pytorch_model"
    with pytest.raises(ConfigError, match=rf"networks.dit.weights: .*{said}"):
        configured({"kind": "ddpm", "weights": str(folder)})


def test_without_a_scheduler_a_line_says_that_nothing_is_compared(tmp_path, capsys):
    saved(tmp_path / "dit")
    shutil.rmtree(tmp_path / "dit" / "scheduler")
    trained(tmp_path, configured({"kind": "ddpm", "weights": str(tmp_path / "dit")}))
    assert "has no scheduler_config.json: what the options of kind ddpm say is not compared" in capsys.readouterr().out


def test_a_label_of_no_class_is_named_where_a_network_has_one_class_more(tmp_path):
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        **{"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "num_class_embeds": 11},
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    model.save_pretrained(tmp_path / "unet")
    given = {"kind": "ddpm", "weights": str(tmp_path / "unet")}
    with pytest.raises(
        ValueError, match=r"11 classes does not fit a data set of 10; .*\{no_class: true\} where the last"
    ):
        trained(tmp_path, configured(given))
    _, layout = trained(tmp_path, configured({**given, "unet": {"no_class": True}}))
    assert network.load(layout.network("dit")).classes == network.load(layout.network("dit")).no_class == 10
