"""Published weights: cards, hashes, what is read and what is refused."""

import hashlib
import json
import pickle
import random
import re
import sys

import pytest
import torch
from safetensors.torch import save_file

from dpmot import plugins
from dpmot._torchvision import make_importable
from dpmot.diffusion import network, weights
from dpmot.experiment.config import ConfigError, load, validate

CARDS = weights.cards()


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_where_what_whose_and_how_good(name):
    one = CARDS[name]
    assert set(one) - {"needs"} == {
        *("what", "address", "format", "sha256", "licence", "architecture", "shape", "kind", "options", "reported")
    }
    assert one["address"].startswith("https://") and one["format"] in (
        "diffusers",
        "torch",
        "pickle",
        "safetensors",
        "onnx",
    )
    assert one["sha256"] is None or re.fullmatch("[0-9a-f]{64}", one["sha256"])
    chain = plugins.find("networks", one["kind"]).Parametrisation(**one["options"]).chain
    assert len(one["shape"]) == 3 and len(chain.sigmas) - 1 == one["options"]["num_levels"]
    for row in one["reported"]:
        assert set(row) == {"metric", "value", "nfe", "grade", "source"} and row["grade"] in ("P", "T", "S")


def test_an_architecture_that_is_not_here_is_named_and_only_that():
    others = [one for one in CARDS.values() if one["format"] != "onnx"]  # which contains its own
    assert all(("needs" in one) == (one["architecture"] != "UNet2DModel") for one in others)


def test_an_unknown_card_lists_those_that_exist():
    with pytest.raises(ValueError, match=r'No card "edm" in baselines/cards.yaml: found ddpm_cifar10, edm_cifar10'):
        weights.card("edm")


def test_another_hash_stops_and_names_the_file_and_both(tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    weights.verify(file, right.upper())
    weights.verify(file, None)
    with pytest.raises(ValueError, match=rf"w.safetensors has sha256 {right}, its card says {'0' * 64}: download it"):
        weights.verify(file, "0" * 64)


class Code:
    """An object whose pickle runs code."""

    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "pkl"])
def test_a_pickle_that_needs_code_is_refused_unread_with_what_to_run(tmp_path, suffix, capsys):
    file = tmp_path / f"network.{suffix}"
    if suffix == "pkl":
        file.write_bytes(pickle.dumps({"ema": Code()}))
    else:
        torch.save({"ema": Code()}, file)
    library = "pickle" if suffix == "pkl" else "torch"
    with pytest.raises(
        ValueError,
        match=rf"network.{suffix} .*is refused.*where you trust its code run: import {library}.*{library}.load",
    ):
        weights.read_tensors(file)
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[{"a": torch.ones(2)}], {"model": [torch.ones(2)], "step": 3}, {}])
def test_a_file_of_something_else_than_tensors_says_what_it_holds(tmp_path, content):
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"must hold named tensors and nothing else, found (list|model, step|;)"):
        weights.read_tensors(tmp_path / "c.pth")


def test_tensors_are_read_from_both_forms(tmp_path):
    tensors = {"a": torch.arange(3.0)}
    save_file(tensors, tmp_path / "t.safetensors")
    torch.save(tensors, tmp_path / "t.pt")
    for name in ("t.safetensors", "t.pt"):
        assert torch.equal(weights.read_tensors(tmp_path / name)["a"], tensors["a"])
    (tmp_path / "bad.safetensors").write_bytes(b"not")
    with pytest.raises(ValueError, match=r"bad.safetensors is no safetensors file, or is damaged"):
        weights.read_tensors(tmp_path / "bad.safetensors")


@pytest.fixture
def folder(tmp_path):
    """A small UNet2DModel as diffusers saves it, with random weights, and the model."""
    diffusers = pytest.importorskip("diffusers")
    make_importable()
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
        num_class_embeds=10,
    ).eval()
    model.save_pretrained(tmp_path / "unet")
    return tmp_path, model


def denoiser_of(folder, kind, **options):
    facts, tensors = weights.read_folder(folder, kind, options)
    card = {"kind": kind, "options": options, "unet": {}, **facts}
    return network.NetworkDenoiser(network.parametrisation(card), network.build(card, tensors)), card, tensors


@torch.no_grad()
def test_a_ddpm_of_diffusers_denoises_as_its_time_steps_say(folder):
    path, model = folder
    denoiser, _, _ = denoiser_of(path, "ddpm")
    x0, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 3, 9, 1])
    for t in (0, 500, 999):  # their t = 0, ..., 999 is level t + 1 of ours
        sigma = denoiser.parametrisation.chain.levels[t]
        x_t = (x0 + sigma * torch.ones(1)) / (1 + sigma**2) ** 0.5
        eps = model(x_t, t, labels).sample
        found = denoiser(x_t * (1 + sigma**2) ** 0.5, torch.tensor(sigma), labels)
        torch.testing.assert_close(found, x_t * (1 + sigma**2) ** 0.5 - sigma * eps, rtol=1e-4, atol=1e-4 * sigma)


@torch.no_grad()
def test_a_consistency_model_of_diffusers_keeps_its_boundary(folder):
    path, model = folder
    denoiser, _, _ = denoiser_of(path, "edm", boundary=0.002)
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 3, 9, 1])
    torch.testing.assert_close(denoiser(x, torch.tensor(0.002), labels), x)
    sigma = torch.tensor(3.0)  # Song et al. 2023, appendix C, with their time 1000 ln(sigma) / 4
    raw = model(x / (sigma**2 + 0.25).sqrt(), 250 * sigma.log(), labels).sample
    above = sigma - 0.002
    expected = 0.25 / (above**2 + 0.25) * x + above * 0.5 / (sigma**2 + 0.25).sqrt() * raw
    torch.testing.assert_close(denoiser(x, sigma, labels), expected, rtol=1e-4, atol=1e-5)


def test_a_folder_with_a_bin_of_tensors_gives_the_same_network(folder):
    path, model = folder
    _, _, expected = denoiser_of(path, "ddpm")
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(model.state_dict(), path / "unet" / "diffusion_pytorch_model.bin")
    _, _, found = denoiser_of(path / "unet", "ddpm")
    assert found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in found)


def test_it_is_kept_as_plain_data_and_loads_again_with_its_classes(folder, tmp_path):
    path, _ = folder
    denoiser, card, tensors = denoiser_of(path, "edm")
    network.save(tmp_path / "n.safetensors", card, {None: tensors})
    loaded = network.load(tmp_path / "n.safetensors")
    assert loaded.classes == 10 and loaded.card["shape"] == [1, 8, 8] and network.is_own(tmp_path / "n.safetensors")
    x, labels = torch.randn(3, 1, 8, 8), torch.arange(3)
    with torch.no_grad():
        again = loaded.denoiser(5)(x, torch.tensor(1.0), labels)
        assert torch.equal(again, denoiser(x, torch.tensor(1.0), labels))
    with pytest.raises(ValueError, match=r"takes images \(B, 1, H, W\), got \(3, 3, 8, 8\)"):
        denoiser(x.expand(3, 3, 8, 8), torch.tensor(1.0), labels)


def change(path, **values):
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **values}), encoding="utf-8")


def test_a_folder_that_is_something_else_is_refused(folder):
    path, _ = folder
    with pytest.raises(ValueError, match="is read as kind ddpm, edm, flow, ve, not ncsnv2"):
        weights.read_folder(path, "ncsnv2", {})
    change(path / "unet" / "config.json", out_channels=2)
    with pytest.raises(ValueError, match="1 channels in, 2 out: only kind ddpm may have twice as many out"):
        weights.read_folder(path, "edm", {})
    change(path / "unet" / "config.json", _class_name="UNet2DConditionModel")
    with pytest.raises(ValueError, match=r"config.json describes a UNet2DConditionModel, only UNet2DModel and DiT"):
        weights.read_folder(path, "ddpm", {})
    (path / "unet" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is no JSON"):
        weights.read_folder(path, "ddpm", {})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda tensors: tensors.pop("conv_in.weight"), r"1 tensors missing \(conv_in.weight\); take weights and"),
        (lambda tensors: tensors.update(extra=torch.ones(2)), r"1 tensors unexpected \(extra\); take weights and"),
        (lambda tensors: tensors.update({"conv_in.weight": torch.ones(3)}), "size mismatch for conv_in.weight"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_weights_that_are_not_the_architectures_are_refused(folder, damage, said, suffix):
    path, model = folder
    tensors = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    damage(tensors)
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    save = save_file if suffix == "safetensors" else torch.save
    save(tensors, path / "unet" / f"diffusion_pytorch_model.{suffix}")
    with pytest.raises(ValueError, match=rf"model.{suffix} does not fit .*config.json: .*{said}"):
        weights.read_folder(path, "ddpm", {})


def test_damaged_weights_and_code_in_a_folder_are_refused(folder, capsys):
    place = folder[0] / "unet"
    (place / "diffusion_pytorch_model.safetensors").write_bytes(b"not")
    with pytest.raises(ValueError, match=r"safetensors is no safetensors file, or is damaged"):
        weights.read_folder(place, "ddpm", {})
    (place / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Code()}, place / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model.bin cannot be read without running code, and is refused"):
        weights.read_folder(place, "ddpm", {})
    assert "code was run" not in capsys.readouterr().out


def test_an_index_of_other_shards_beside_the_verified_file_is_not_followed(folder):
    path, model = folder
    other = {key: tensor + 1 for key, tensor in model.state_dict().items()}
    save_file(other, path / "unet" / "other.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(other, "other.safetensors")}
    (path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    _, _, found = denoiser_of(path, "ddpm")
    assert all(torch.equal(found[f"unet.{key}"], tensor) for key, tensor in model.state_dict().items())


def test_a_config_that_says_too_little_or_nothing_readable_is_refused(folder):
    path, _ = folder
    config = path / "unet" / "config.json"
    change(config, time_embedding_type="fourier")
    with pytest.raises(ValueError, match="time_embedding_type fourier: only positional is read"):
        weights.read_folder(path, "edm", {})
    change(config, time_embedding_type="positional", down_block_types=["NoBlock", "DownBlock2D"])
    with pytest.raises(ValueError, match=r"model.safetensors does not fit .*config.json: NoBlock"):
        weights.read_folder(path, "edm", {})
    change(config, in_channels=None)
    with pytest.raises(ValueError, match=r"config.json does not say in_channels: add what"):
        weights.read_folder(path, "edm", {})
    config.write_text("[]")
    with pytest.raises(ValueError, match=r"config.json must hold one JSON object, found list"):
        weights.read_folder(path, "edm", {})


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_a_broken_download_is_called_that_and_no_advice_to_unpickle_it_is_given(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"w.pt is (no file of torch.save|damaged) .*: download it again"):
        weights.read_tensors(tmp_path / "w.pt")


def test_a_damaged_archive_never_escapes_as_another_error(tmp_path):
    torch.save({"a": torch.arange(200.0)}, tmp_path / "w.pt")
    whole, draw = (tmp_path / "w.pt").read_bytes(), random.Random(0)
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[draw.randrange(2, len(whole))] ^= 1 << draw.randrange(8)
        (tmp_path / "w.pt").write_bytes(flipped[: draw.choice([len(whole), draw.randrange(2, len(whole))])])
        try:
            weights.read_tensors(tmp_path / "w.pt")
        except ValueError as error:
            assert "w.pt" in str(error)


def test_a_scheduler_that_contradicts_the_options_is_said(folder):
    path, _ = folder
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"beta_end": 0.02, "beta_schedule": "linear"}))
    weights.read_folder(path, "ddpm", {})
    change(path / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(
        ValueError, match="prediction_type is v_prediction, the network's options say prediction epsilon; give"
    ):
        weights.read_folder(path, "ddpm", {})


def test_without_diffusers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"needs diffusers: pip install -e '.\[diffusers\]'"):
        weights.read_folder(folder[0], "ddpm", {})


def config_with(**networks):
    return {
        **{"experiment": "cards", "dataset": "digits", "num_samples": 200, "sample_seeds": [0], "nfe_budgets": [5]},
        "networks": networks,
        "methods": {"x": {"network": next(iter(networks)), "sampler": "ddim"}},
    }


def test_a_network_of_a_card_has_its_kind_and_options(tmp_path):
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"")
    loaded = validate(config_with(one={"card": "ddpm_cifar10", "weights": str(tmp_path)})).networks["one"]
    assert loaded.kind == "ddpm" and loaded.options == CARDS["ddpm_cifar10"]["options"]


@pytest.mark.parametrize(
    ("network_config", "said"),
    [
        ({"card": "ddpm_cifar10", "weights": "nowhere"}, "weights: no file nowhere; download https://huggingface.co"),
        ({"card": "ddpm", "weights": "x"}, r'networks.one.card: No card "ddpm" in baselines/cards.yaml: found'),
        ({"card": "edm_cifar10_cond_vp", "weights": "x"}, r"needs SongUNet of NVlabs/edm, which this project does not"),
        ({"card": "ddpm_cifar10"}, "a network has a kind, or a card and weights"),
    ],
)
def test_a_card_that_cannot_be_used_is_one_clear_line(network_config, said):
    with pytest.raises(ConfigError, match=said):
        validate(config_with(one=network_config))


def test_a_configuration_may_extend_another(tmp_path):
    (tmp_path / "base.yaml").write_text("extends: config/smoke.yaml\nnum_samples: 300\n")
    (tmp_path / "mine.yaml").write_text(
        f"extends: {tmp_path}/base.yaml\nexperiment: mine\nnetworks: {{edm: {{unet: {{channels: 4}}}}}}\n"
    )
    mine, base = load([tmp_path / "mine.yaml"]), load(["config/smoke.yaml"])
    assert mine.num_samples == 300 and mine.experiment == "mine" and mine.methods == base.methods
    assert mine.networks["edm"] == base.networks["edm"].but(unet=mine.networks["edm"].unet)
    assert mine.networks["edm"].unet.channels == 4
    (tmp_path / "mine.yaml").write_text("extends: nowhere.yaml\n")
    with pytest.raises(ConfigError, match=r"Cannot read the configuration nowhere.yaml"):
        load([tmp_path / "mine.yaml"])
