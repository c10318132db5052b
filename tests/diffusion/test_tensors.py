"""Files of tensors as others write them: read to the number, or refused in one line that says what the file is."""

import io
import pickle
import tarfile
import zipfile
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dpmot.diffusion import network
from dpmot.diffusion.tensors import read_tensors
from dpmot.diffusion.unet import UNet
from dpmot.diffusion.weights import verify
from dpmot.runtime import seals

pytestmark = pytest.mark.usefixtures("one_thread")
CARD = {"kind": "edm", "options": {}, "shape": [1, 8, 8], "unet": {"channels": 8}}
A = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([0.5, -2.0])}


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def equal(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)


WAYS = {  # how one set of tensors may be written
    "an archive": lambda path: torch.save(A, path),
    "the older form": lambda path: torch.save(A, path, _use_new_zipfile_serialization=False),
    "the older form, protocol 3": lambda path: torch.save(
        A, path, pickle_protocol=3, _use_new_zipfile_serialization=False
    ),
    "parameters": lambda path: torch.save({k: torch.nn.Parameter(v) for k, v in A.items()}, path),
    "safetensors by another name": lambda path: save_file(A, path),
    "float64": lambda path: torch.save({k: v.double() for k, v in A.items()}, path),
    "float16": lambda path: torch.save({k: v.half() for k, v in A.items()}, path),
    "bfloat16": lambda path: save_file({k: v.bfloat16() for k, v in A.items()}, path),
    "views of one tensor": lambda path: torch.save(
        {"a.weight": (whole := torch.arange(12.0))[:6].reshape(2, 3), "a.bias": whole.new_tensor([0.5, -2.0])}, path
    ),
    "not contiguous": lambda path: torch.save({**A, "a.weight": A["a.weight"].T.contiguous().T}, path),
    "a state_dict": lambda path: torch.save({"state_dict": A, "epoch": 3, "optimizer": {"state": {0: A}}}, path),
    "a state_dict, deeper": lambda path: torch.save({"model": {"state_dict": A, "name": "x"}}, path),
    "an average beside it": lambda path: torch.save({"model": prefixed("x", A), "ema": A, "step": 3}, path),
    "an average by another name": lambda path: torch.save({"net": prefixed("x", A), "model_ema": A}, path),
    "random states beside it": lambda path: torch.save({"model": A, "rng": {"cpu": torch.get_rng_state()}}, path),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_set_of_tensors_is_the_same_numbers_however_it_is_written(way, tmp_path):
    WAYS[way](tmp_path / "w.pt")
    found = read_tensors(tmp_path / "w.pt")
    assert equal(found, A) and all(type(t) is torch.Tensor and t.dtype == torch.float32 for t in found.values())


@pytest.mark.parametrize("length", [640, 896, 19280])  # little endian these begin like a pickle, and like a zip
def test_the_length_of_a_header_makes_no_other_file_of_it(length, tmp_path):
    save_file(A, tmp_path / "w.bin", {"x": ""})
    bare = int.from_bytes((tmp_path / "w.bin").read_bytes()[:8], "little")
    save_file(A, tmp_path / "w.bin", {"x": "x" * (length - bare)})
    assert (tmp_path / "w.bin").read_bytes()[:8] == length.to_bytes(8, "little")
    assert equal(read_tensors(tmp_path / "w.bin"), A)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    for name in ("1", "2"):
        save_file(A, tmp_path / name)
    (tmp_path / "w.index.json").write_text('{"weight_map": {"a.weight": "1", "a.bias": "2"}}')
    with pytest.raises(ValueError, match=r"2 holds a.bias, as another shard of w.index.json does"):
        read_tensors(tmp_path / "w.index.json")


def test_what_is_read_in_inference_mode_can_be_trained(tmp_path):
    WAYS["float16"](tmp_path / "w.pt")
    with torch.inference_mode():
        assert not any(tensor.is_inference() for tensor in read_tensors(tmp_path / "w.pt").values())


def test_what_was_chosen_and_changed_is_said(tmp_path, capsys):
    torch.save({"model": A, "ema": {k: v.half() for k, v in A.items()}}, tmp_path / "w.pt")
    read_tensors(tmp_path / "w.pt")
    said = capsys.readouterr().out
    assert "w.pt: reads ema of model, ema" in said and "w.pt: float16 becomes float32" in said


def archive(path):
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("tensors"), io.BytesIO(b""))


def script(path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


REFUSED = {  # what a file is -> how it is made, what is said
    "a TorchScript program": (script, r"is a TorchScript program, which runs code: save torch.jit.load\(FILE\)"),
    "protocol 4": (lambda p: torch.save(A, p, pickle_protocol=4), "pickle protocol 4, which is not read safely"),
    "the older form, protocol 4": (
        lambda p: torch.save(A, p, pickle_protocol=4, _use_new_zipfile_serialization=False),
        "pickle protocol 4, which is not read safely: save it with the default",
    ),
    "numpy's arrays": (lambda p: np.savez(p.open("wb"), a=np.ones(2)), r"is a zip archive of something else \(a.npy"),
    "a tar archive": (archive, "is a tar archive"),
    "a pointer of Git LFS": (
        lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "is the pointer of a Git LFS file, not the file: run git lfs pull",
    ),
    "an array": (lambda p: np.save(p.open("wb"), np.ones(2)), "is an array of numpy: save named tensors"),
    "a plain pickle": (
        lambda p: p.write_bytes(pickle.dumps({"a": 1}, protocol=2)),
        r"is a pickle, which runs code when it is read, and is refused; .*pickle.load\(",
    ),
    "objects beside the tensors": (
        lambda p: torch.save({"state_dict": A, "hyper_parameters": Namespace()}, p),
        r"is refused \(it needs argparse.Namespace\); .*torch.load\(FILE, weights_only=False\)\[.state_dict.\]",
    ),
    "Keras": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "is an HDF5 file"),
    "quantised weights": (lambda p: p.write_bytes(b"GGUF" + bytes(90)), "is a GGUF file"),
    "compressed": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + bytes(90)), r"is compressed \(gzip\): unpack it"),
    "a page": (lambda p: p.write_bytes(b"<!doctype html>"), "is no file of torch.save .*: download it again"),
    "nothing": (lambda p: p.write_bytes(b""), "is no file of torch.save"),
    "int8": (
        lambda p: torch.save({**A, "q": torch.ones(2, dtype=torch.int8)}, p),
        "tensor q holds int8; read are float32,",
    ),
    "bool": (lambda p: torch.save({**A, "q": torch.ones(2) > 0}, p), "tensor q holds bool"),
    "complex": (lambda p: torch.save({**A, "q": torch.ones(2) + 1j}, p), "tensor q holds complex64"),
    "float8": (
        lambda p: torch.save({**A, "q": torch.ones(2).to(torch.float8_e4m3fn)}, p),
        "tensor q holds float8_e4m3fn",
    ),
    "sparse": (lambda p: torch.save({**A, "q": torch.ones(2).to_sparse()}, p), "tensor q holds sparse_coo float32"),
    "no memory": (lambda p: torch.save({**A, "q": torch.ones(2, device="meta")}, p), "tensor q holds no numbers"),
    "NaN": (lambda p: torch.save({**A, "q": torch.tensor([1.0, torch.nan])}, p), "tensor q holds NaN or infinity"),
    "infinity": (lambda p: torch.save({**A, "q": torch.tensor(torch.inf)}, p), "tensor q holds NaN or infinity"),
    "beyond float32": (
        lambda p: torch.save({**A, "q": torch.tensor(1e300, dtype=torch.float64)}, p),
        "tensor q holds NaN or infinity",
    ),
    "two networks": (
        lambda p: torch.save({"generator": A, "discriminator": A}, p),
        "holds several networks: generator, discriminator; save the one that you mean alone",
    ),
    "no average by its name": (lambda p: torch.save({"semantic": A, "net": A}, p), "several networks: semantic, net"),
    "two averages": (lambda p: torch.save({"ema_1": A, "ema_2": A}, p), "holds several networks: ema_1, ema_2"),
    "tensors without names": (lambda p: torch.save({"shadow_params": [*A.values()]}, p), "must hold named tensors"),
    "tensors and numbers": (lambda p: torch.save({**A, "step": 3}, p), "must hold named tensors and nothing else"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*beta state:UserWarning")
def test_a_file_of_something_else_is_refused_by_what_it_is(case, tmp_path):
    make, said = REFUSED[case]
    make(tmp_path / "w.bin")
    with pytest.raises(ValueError, match=said) as caught:
        read_tensors(tmp_path / "w.bin")
    assert "w.bin" in str(caught.value) and "\n" not in str(caught.value)


# --- a network's own names ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own():
    torch.manual_seed(0)
    return {name: torch.randn_like(tensor) for name, tensor in UNet(1, channels=8).state_dict().items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "ema_model.module.", "net_"]
)
def test_a_wrappers_prefix_is_taken_off_and_said(prefix, own, capsys):
    found = network.build(CARD, prefixed(prefix, own)).state_dict()
    assert equal(found, own) and f"names are read without {prefix}" in capsys.readouterr().out


def test_of_a_network_and_its_average_in_one_list_the_average_is_taken(own):
    both = {**prefixed("online_model.", {k: v + 1 for k, v in own.items()}), **prefixed("ema_model.", own)}
    assert equal(network.build(CARD, {**both, "initted": torch.tensor(1.0)}).state_dict(), own)
    with pytest.raises(ValueError, match=r"holds several networks: a\., b\.; save the one"):
        network.build(CARD, {**prefixed("a.", own), **prefixed("b.", own)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inlet.weight": torch.ones(3)}, r"size mismatch for inlet.weight.*\[3\].*\[8, 1, 3, 3\]"),
        (
            {"inlet.weight": torch.ones(8, 1, 3, 3, dtype=torch.int64)},
            r"tensor inlet.weight holds torch.int64, the network torch.float32",
        ),
        ({"schedule.betas": torch.ones(1000)}, r"Unexpected key\(s\) in state_dict: \"schedule.betas\""),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes(change, said, own):
    with pytest.raises(ValueError, match=said):
        network.build(CARD, {**own, **change})


def test_tied_tensors_are_written_each_for_itself(tmp_path):
    one = torch.arange(4.0)
    seals.save(tmp_path / "t.safetensors", {"a": one, "b": one, "c": one[:2], "d": torch.ones(2)}, {})
    found, _ = seals.load(tmp_path / "t.safetensors")
    assert equal(found, {"a": one, "b": one, "c": one[:2], "d": torch.ones(2)})


def test_the_hash_of_shards_is_that_of_their_bytes_in_order(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(name.encode())
    index = tmp_path / "w.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "2", "b": "1"}}')
    (tmp_path / "12").write_bytes(b"12")
    assert verify(index, None) == verify(tmp_path / "12", None)


# --- evaluation mode, whoever built the network ------------------------------------------------------------


class Dropping(torch.nn.Module):
    """A network of a plug-in with dropout, in training mode as it is made."""

    def __init__(self):
        super().__init__()
        self.layer, self.drop = torch.nn.Conv2d(1, 1, 1), torch.nn.Dropout(0.5)

    def forward(self, x, condition, labels=None):
        return self.drop(self.layer(x))


class Holder:
    """No module itself."""

    def __init__(self):
        self.net = Dropping()

    def __call__(self, x, condition):
        return self.net(x, condition)

    def forward(self, x, condition):
        return self.net(x, condition)


GLOBAL = Dropping()


def within(net):
    return lambda x, condition: net(x, condition)


class Listed(torch.nn.Module):
    """Its layers are in a list, where PyTorch does not see them."""

    def __init__(self):
        super().__init__()
        self.layers = [Dropping()]

    def forward(self, x, condition):
        return self.layers[0](x, condition)


HOLDERS = {
    "a module": Dropping,
    "an object": Holder,
    "a method": lambda: Holder().forward,
    "a list": Listed,
    "a closure": lambda: within(Dropping()),
    "a closure of an object": lambda: within(Holder()),
    "a partial call": lambda: partial(Holder.forward, Holder()),
    "a global name": lambda: lambda x, condition: GLOBAL(x, condition),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_a_network_is_in_evaluation_mode_whoever_built_it(make):
    denoiser = network.NetworkDenoiser(network.parametrisation(CARD), make())
    x = torch.randn(8, 1, 8, 8)
    assert torch.equal(denoiser(x, torch.tensor(1.0)), denoiser(x, torch.tensor(1.0)))


BAD = {
    "draws": (lambda x, c: torch.nn.functional.dropout(x), "gives two answers to one question"),
    "batch statistics": (lambda x, c: x - x.mean(0), "answer depends on the images beside it"),
    "another shape": (lambda x, c: x[:, :, :4], r"the network (fails|gives)"),
    "NaN": (lambda x, c: x / 0 * 0, "gives NaN or infinity for images of shape"),
    "another size": (torch.nn.Conv2d(3, 3, 1), r"fails on images of shape \[1, 8, 8\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_network_that_cannot_sample_is_refused_before_it_does(case):
    model, said = BAD[case]
    with pytest.raises(ValueError, match=rf"w.pt: .*{said}"):
        network.try_out(CARD, model, "w.pt")


def test_an_archive_that_holds_far_more_than_its_size_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # torch.save compresses nothing
        archive.writestr("archive/data.pkl", bytes(2**23))
    with pytest.raises(
        ValueError, match=r"weights.pt is a compressed archive of 8388608 bytes: save its tensors again"
    ):
        read_tensors(path)
