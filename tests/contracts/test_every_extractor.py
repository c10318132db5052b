"""The contract of an extractor, checked on every file of dpmot/features/ at images of its own shape."""

import inspect
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmot import plugins
from dpmot._torchvision import make_importable
from dpmot.features import KINDS, Extractor, Features, Offer, classifier, clip, resnet56

pytestmark = pytest.mark.usefixtures("one_thread")
EXTRACTORS = plugins.names("features")
COUNT = 7
LAW = {"means": np.array([[0.0, 0.0], [1.0, 0.0]], np.float32), "std": np.float32(0.1)}
POINTS = torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(1))


def trained(folder, patch):
    torch.manual_seed(0)
    classifier.save(folder / "classifier.safetensors", classifier.Classifier(3, (3, 32, 32)), {})
    return Offer(classifier=folder / "classifier.safetensors")


def drawn_resnet56(folder, patch):
    torch.manual_seed(0)
    torch.save(resnet56.ResNet56().state_dict(), folder / "drawn.pt")
    patch.setattr(resnet56, "published", lambda root: folder / "drawn.pt")  # which compares a hash
    return Offer()


def drawn_inception(folder, patch):
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as building:
        building.setattr(theirs, "load_state_dict_from_url", lambda url, progress: {})
        building.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = theirs.FeatureExtractorInceptionV3("drawn", ["2048"], verbose=False)
    torch.save(network.state_dict(), folder / "drawn.pth")
    return Offer(given={"weights": str(folder / "drawn.pth")})


def drawn_vit(folder, patch):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=4)
    transformers.ViTForImageClassification(network).save_pretrained(folder)
    return Offer(given={"weights": str(folder)})


class Patches(torch.nn.Module):
    """Stands for a vision network: mean colours of a grid of patches."""

    input_resolution = 224

    def forward(self, x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)


def stand_in_clip(folder, patch):
    from torch_fidelity import feature_extractor_clip as theirs

    (folder / "checkpoints").mkdir()
    file = folder / "checkpoints" / clip.FILE
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(file))
    patch.setattr(torch.hub, "get_dir", lambda: str(folder))
    patch.setattr(clip, "SHA256", sha256(file.read_bytes()).hexdigest())
    patch.setattr(theirs, "build_model", lambda state, dtype: torch.nn.ModuleDict({"visual": Patches()}))
    return Offer()


def stand_in_dinov2(folder, patch):
    patch.setattr(torch.hub, "load", lambda *names: Patches())
    return Offer(download=True)


class Colours(torch.nn.Module):
    """A feature network of the user's own: mean colours, mixed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.mean((2, 3)) @ torch.linspace(-1, 1, 15).reshape(3, 5))


def scripted(folder, patch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch discourages TorchScript, which users have
        torch.jit.script(Colours()).save(str(folder / "own.pt"))
    pinned = sha256((folder / "own.pt").read_bytes()).hexdigest()
    return Offer(given={"weights": str(folder / "own.pt"), "sha256": pinned})


MADE = {
    "classifier": trained,
    "clip": stand_in_clip,
    "dinov2": stand_in_dinov2,
    "inception": drawn_inception,
    "own": scripted,
    "resnet56": drawn_resnet56,
    "vit": drawn_vit,
}


@pytest.fixture(scope="module", params=EXTRACTORS)
def extractor(request, tmp_path_factory):
    """An extractor that can be asked; with drawn weights or a small stand-in where it needs a network."""
    name, module = request.param, plugins.find("features", request.param)
    make_importable()
    with pytest.MonkeyPatch.context() as patch:
        made = MADE.get(name, lambda folder, patch: Offer(mixture=LAW))
        ready = Extractor(name, made(tmp_path_factory.mktemp(name), patch))
        try:
            ready.check()
            ready.files()
        except (ValueError, OSError) as error:
            pytest.skip(f"what it needs is not here: {error}")
        yield ready
        getattr(getattr(module, "load", None), "cache_clear", bool)()


def samples(extractor):
    """Points, or images of the shape that the file states as SHAPE, (C, H, W); by default 32 x 32 in colour."""
    shape = plugins.constant("features", extractor.name, "SHAPE") or (3, 32, 32)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, *shape), dtype=torch.uint8, generator=random)
    return POINTS if extractor.domain == "mixture" else images


def extracted(extractor, images):
    """Features, in small tiles where their size can be chosen: a network of 299 x 299 pixels takes a second a dozen."""
    function = plugins.find("features", extractor.name).extract
    small = {"tile": 4} if "tile" in inspect.signature(function).parameters else {}
    return function(images, **extractor.options(), **small)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_what_a_plan_has_to_know_is_stated_in_constants_of_the_right_type(name):
    stated = Extractor(name)
    assert stated.domain in ("images", "mixture", "any")
    assert all(isinstance(flag, bool) for flag in (stated.slow, stated.distinct, stated.own_classes, stated.trained))
    assert isinstance(stated.expected, tuple) and all(isinstance(file, str) for file in stated.expected)
    assert all(isinstance(one, str) for one in (*stated.needs, *stated.needs.values(), *stated.aliases))
    assert set(stated.kinds.values()) <= set(KINDS) and set(stated.aliases.values()) <= set(stated.kinds)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_its_functions_take_images_with_keyword_options_and_an_offer(name):
    module = plugins.find("features", name)
    images, *options = inspect.signature(module.extract).parameters.values()
    assert images.name == "images"
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)
    for optional in {"options", "files", "check"} & plugins.functions("features", name):
        assert list(inspect.signature(getattr(module, optional)).parameters) == ["offer"]
    if "options" not in plugins.functions("features", name):
        assert set(Extractor(name).kinds) <= {option.name for option in options}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_option_that_there_is_not_or_of_another_type_is_refused_before_the_file_is_imported(name):
    with pytest.raises(ValueError, match=f'{name}: unknown option "no_such"; allowed: '):
        Extractor(name, Offer(given={"no_such": 1})).check()
    for option in Extractor(name).kinds:
        with pytest.raises(ValueError, match=rf"{option}: \[\] is no "):
            Extractor(name, Offer(given={option: []})).check()


def test_its_features_are_one_finite_row_a_sample_and_bear_its_name(extractor):
    found = extracted(extractor, samples(extractor))
    assert isinstance(found, Features) and len(found) == COUNT
    assert found.extractor.partition("-")[0] == extractor.name  # then the digits of a stand-in
    assert found.probabilities is None or found.probabilities.shape[1] >= 2
    assert np.ptp(found.values, axis=0).max() > 0  # they see the image


def test_a_row_is_the_same_bits_in_every_batch_and_order_and_the_samples_are_left_alone(extractor):
    images = samples(extractor)
    before, whole = images.clone(), extracted(extractor, images)
    for rows in ([6, 2, 4, 0, 1, 3, 5], [3], [5, 5, 1]):
        found = extracted(extractor, images[rows])
        np.testing.assert_array_equal(found.values, whole.values[rows])
        if whole.probabilities is not None:
            np.testing.assert_array_equal(found.probabilities, whole.probabilities[rows])
    assert torch.equal(images, before)


def alone(extractor, image):
    """One image, by a network that is loaded anew; in a tile of its own where that can be chosen."""
    module = plugins.find("features", extractor.name)
    getattr(getattr(module, "load", None), "cache_clear", bool)()
    if "tile" in inspect.signature(module.extract).parameters:
        return module.extract(image, **extractor.options(), tile=1)
    return extractor.extract(image)


def test_nothing_depends_on_what_the_caller_set_for_all_code(extractor, altered):
    image, stream = samples(extractor)[:1], torch.random.get_rng_state()
    plain = alone(extractor, image)
    assert torch.equal(torch.random.get_rng_state(), stream)  # nor does the caller's random stream on it
    with altered():
        found = alone(extractor, image)
    np.testing.assert_array_equal(found.values, plain.values)
    assert found.values.dtype == plain.values.dtype
    if plain.probabilities is not None:
        np.testing.assert_array_equal(found.probabilities, plain.probabilities)


def test_images_that_are_no_bytes_are_refused(extractor):
    if extractor.domain == "mixture":
        pytest.skip("it looks at points, which are floats")
    with pytest.raises(ValueError, match="must be uint8"):
        extractor.extract(samples(extractor) / 255)
    with pytest.raises(ValueError, match="must be uint8"):
        extractor.extract(samples(extractor)[0])


def test_what_its_numbers_depend_on_are_files_that_are_there(extractor):
    assert all(isinstance(file, Path) and file.is_file() for file in extractor.files())
    assert set(extractor.options()) <= set(
        inspect.signature(plugins.find("features", extractor.name).extract).parameters
    )
    extractor.check()
    assert set(extractor.inputs()) <= set(extractor.files())
