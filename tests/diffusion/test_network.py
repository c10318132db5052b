"""A network on disk: what is written comes back to the bit, and everything else is refused with the file's name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpmot.diffusion import network
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import ddpm_chain, edm_chain

pytestmark = pytest.mark.usefixtures("one_thread")
CARD = {"kind": "edm", "options": {"sigma_data": 0.7}, "shape": [1, 8, 8], "unet": {"channels": 8}}


def fresh(card=CARD, seed=0):
    torch.manual_seed(seed)
    model = network.build(card)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "edm.safetensors"
    network.save(path, CARD, {None: fresh().state_dict()})
    return path


def refusal(path):
    with pytest.raises(ValueError) as caught:
        network.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", [torch.preserve_format, torch.channels_last])
def test_a_network_comes_back_to_the_bit(stored, layout):
    loaded = network.load(stored, layout=layout)
    x = torch.randn(4, 1, 8, 8)
    expected = network.NetworkDenoiser(network.parametrisation(CARD), fresh().to(memory_format=layout))
    assert loaded.card == CARD
    assert torch.equal(loaded.denoiser(7)(x, torch.tensor(0.5)), expected(x, torch.tensor(0.5)))
    assert (loaded.denoiser(7).sigma_min, loaded.denoiser(7).sigma_max) == (0.002, 80)


def test_one_sigma_for_all_is_the_same_as_one_each(stored):
    denoiser, x = network.load(stored).denoiser(1), torch.randn(4, 1, 8, 8)
    assert torch.equal(denoiser(x, torch.tensor(0.5)), denoiser(x, torch.full((4,), 0.5)))


@pytest.mark.parametrize(("kind", "chain"), [("edm", edm_chain()), ("ddpm", ddpm_chain())])
def test_the_chain_is_that_of_the_card(kind, chain):
    found = network.chain_of({"kind": kind, "options": {}})
    assert found.family == chain.family and (found.sigmas == chain.sigmas).all() and found.step_counts is None


def test_a_student_has_one_network_for_each_step_count(tmp_path):
    path, card = tmp_path / "student.safetensors", {**CARD, "step_counts": [2, 4]}
    network.save(path, card, {count: fresh(seed=count).state_dict() for count in (2, 4)})
    loaded = network.load(path)
    assert loaded.chain.step_counts == (2, 4)
    for count in (2, 4):
        expected = fresh(seed=count).state_dict()
        found = loaded.denoiser(count).model.state_dict()
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_the_exact_denoiser_of_a_mixture_is_a_network_file_too(tmp_path):
    path, means = tmp_path / "exact.safetensors", torch.randn(3, 2)
    card = {"kind": "mixture", "options": {}, "shape": [2], "unet": {}}
    network.save(path, card, {None: {"means": means, "std": torch.tensor(0.2)}})
    x = torch.randn(5, 2)
    found = network.load(path).denoiser(3)(x, torch.tensor(0.7))
    assert torch.equal(found, MixtureDenoiser(means, float(torch.tensor(0.2)))(x, torch.tensor(0.7)))


# --- faults ------------------------------------------------------------------------------------------------


def test_a_missing_file_says_how_to_get_one(tmp_path):
    assert "train it with `dpmot train`" in refusal(tmp_path / "nothing.safetensors")


def test_a_truncated_file_is_refused(stored):
    stored.write_bytes(stored.read_bytes()[:-100])
    assert "is damaged" in refusal(stored)


def test_a_file_of_other_bytes_is_refused(tmp_path):
    path = tmp_path / "text.safetensors"
    path.write_bytes(b"these are not weights at all")
    assert "is damaged" in refusal(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"card": "no json"}, {"card": "[1, 2]"}, {"card": "{}"}])
def test_a_safetensors_file_without_a_card_of_ours_is_refused(tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata)
    assert "is not a network written by this project" in refusal(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"unet": {"channels": 16}}, "size mismatch"),
        ({"unet": {"channels": 100_000}}, "size mismatch"),  # 10^12 bytes, were it built
        ({"unet": {"blocks": 10**9}}, "it has 1000000000 blocks, the file "),
        ({"unet": {"channels": -8}}, "negative"),
        ({"unet": {"channels": 8, "classes": 10**12}}, "label.weight"),
        ({"unet": {"embedding": "wide"}}, "str"),
        ({"unet": {"width": 8}}, "width"),
        ({"kind": "dat"}, 'No parametrisation "dat"'),
        ({"options": {"sigma": 1}}, "sigma"),
        ({"step_counts": [5]}, "Missing key"),
    ],
)
def test_weights_that_do_not_fit_their_card_are_refused_with_the_file_and_the_reason(stored, change, word):
    tensors, card = load_file(stored), {**CARD, **change}
    save_file(tensors, stored, {"card": json.dumps(card)})
    message = refusal(stored)
    assert word in message and "\n" not in message


def test_a_missing_tensor_is_named(stored):
    tensors = load_file(stored)
    del tensors["inlet.weight"]
    save_file(tensors, stored, {"card": json.dumps(CARD)})
    assert "inlet.weight" in refusal(stored)
