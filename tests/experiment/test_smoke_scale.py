"""scale: smoke, and the paper's own experiments: they are planned without data files, and shrink to stand-ins."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from dpmot import cli, plugins
from dpmot.data import stand_in
from dpmot.diffusion import network
from dpmot.experiment import grid
from dpmot.experiment.config import ConfigError, load, validate
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.missing import missing_data, missing_weights
from dpmot.experiment.smoke import patch
from dpmot.experiment.stages import prepare
from dpmot.plugins import ROOT

EXPERIMENTS = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "celeba": (3, 64, 64), "ffhq": (3, 256, 256)}
AS_CODE = {"source_measure", "targets", "level", "nfe"}
OF_FLOWS = {"meanflow", "reflow"}  # they need a flow network, as config/digits_full.yaml has


def jobs_of(experiment):
    return Jobs(experiment, Layout(Path("results") / experiment.experiment))


def planned(name, *overrides):
    return load([ROOT / "config" / f"{name}.yaml"], overrides)


@pytest.fixture(params=EXPERIMENTS)
def name(request, monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    return request.param


def test_an_experiment_of_the_paper_is_planned_without_its_data_and_says_what_is_missing(name, capsys):
    assert cli.main(["plan", "--configfile", str(ROOT / "config" / f"{name}.yaml")]) == 0
    shown = capsys.readouterr().out
    assert f"{name}: 6 networks see" in shown and "data: No data root is given: set DPMOT_DATA" in shown


def test_it_has_the_papers_budgets_every_rival_the_controls_and_each_departure_of_the_code(name):
    config = planned(name)
    methods = config.methods
    assert config.nfe_budgets == (5, 10, 20, 30, 50)
    samplers = {method.sampler for method in methods.values() if method.group == "rivals"}
    distilled = {network.distillation for network in config.networks.values() if network.distillation}
    assert samplers == set(plugins.names("baselines")) - OF_FLOWS
    assert distilled >= set(plugins.names("distillation")) - OF_FLOWS
    starts = {method.start for method in methods.values()}
    assert starts == set(plugins.names("starts"))
    coded = [{key for key in AS_CODE if getattr(method, key) == "as_code"} for method in methods.values()]
    assert all({key} in coded for key in AS_CODE) and AS_CODE in coded
    assert any(method.singular == "as_code" for method in methods.values())


CORE = {  # what issue and README call the core of Fashion-MNIST: (network, start, sampler, level)
    ("ddpm", "prior", "ddpm", None), ("ddpm", "prior", "ddim", None), ("edm", "prior", "edm", None),
    ("student", "prior", "ddim", None), ("edm", "prior", "ipndm", None), ("ddpm", "transport", "ddim", "as_paper"),
    ("edm", "transport", "ddim", "star"), ("ddpm", "copy", "ddim", "as_paper"),
    ("ddpm", "fresh_noise", "ddim", "as_paper"),
    ("edm", "gaussian", "ddim", 3),
}  # fmt: skip


def test_the_core_of_fashion_mnist_has_each_kind_of_method_at_every_budget_on_two_seeds():
    config = planned("fashion_mnist")
    found = {
        (one.network, one.start, one.sampler, one.level): name
        for name, one in config.methods.items()
        if one.nfe_budgets == config.nfe_budgets and one.source_measure == "as_paper"
    }
    assert set(found) >= CORE and (config.num_samples, config.sample_seeds) == (2000, (0, 1))
    for kind in CORE:
        cells = list(grid.cells(config, found[kind]))
        run = {(cell.nfe_budget, cell.sample_seed) for cell in cells if not cell.reason}
        budgets = [5, 10, 20] if kind[0] == "student" else [5, 10, 20, 30, 50]  # it was distilled to 20 steps and fewer
        assert run == {(budget, seed) for budget in budgets for seed in (0, 1)}


def test_the_weights_of_fashion_mnist_are_small_pinned_and_of_the_network_that_is_planned():
    config = planned("fashion_mnist")
    for name, given in {**config.networks, "classifier": config.classifier}.items():
        path = ROOT / given.weights
        assert path.stat().st_size <= 4_000_000 and sha256(path.read_bytes()).hexdigest() == given.sha256, name
        if name != "classifier":
            made = network.load(path).card
            assert made["shape"] == [1, 28, 28] and made["name"] == name
            assert "unet" not in given.model_fields_set or made["unet"] == given.unet.given()


def test_fashion_mnist_loads_its_networks_trains_them_when_asked_and_in_full_has_every_rival(capsys):
    for more, loads in (((), True), (("weights=train",), False)):
        config = planned("fashion_mnist", *more)
        assert all((network.how == "loaded") == loads for network in config.networks.values())
    full = planned("fashion_mnist", "scale=full")
    rivals = {one.sampler for one in full.methods.values() if one.group == "rivals"}
    assert rivals == set(plugins.names("baselines")) - OF_FLOWS and full.sample_seeds == (0, 1, 2)
    assert full.num_samples == 5000 and full.experiment == "fashion_mnist_full"
    assert any(method.singular == "as_code" for method in full.methods.values())
    arguments = ["plan", "--configfile", str(ROOT / "config" / "fashion_mnist.yaml"), "--config", "scale=full"]
    assert cli.main(arguments) == 0
    assert "fashion_mnist_full: 3 networks see 2,304,000 images in training" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "levels", "largest", "steps", "step"), [
    ("cifar10", 232, 50, 5, 6.2e-6),
    ("celeba", 500, 90, 5, 3.3e-6),
    ("ffhq", 2311, 348, 3, 9e-7),
])  # fmt: skip
def test_the_authors_chain_has_their_numbers_in_our_units(name, levels, largest, steps, step):
    """Their sigmas are for images in [0, 1] and double; step is their step_lr over the square of their last sigma."""
    config = planned(name)
    options = config.networks["ncsnv2"].options
    assert (options["num_levels"], options["sigma_max"], options["sigma_min"]) == (levels, 2 * largest, 2 * 0.01)
    assert config.networks["ncsnv2"].training.ema == 0.999
    for method in config.methods.values():
        if method.sampler == "ncsnv2":
            assert method.options["step"] == pytest.approx(step / 0.01**2)
            assert method.options.get("steps_per_level", 5) == steps


def test_a_smoke_run_takes_stand_ins_in_the_shape_of_the_data_and_says_so(name):
    config = planned(name, "scale=smoke")
    assert config.experiment == f"{name}_smoke" and missing_data(config) is None
    options = config.dataset_options
    assert config.dataset == "stand_in" and tuple(options["shape"]) == EXPERIMENTS[name] and options["of"] == name
    assert jobs_of(config).measure().task.config["scale"] == "smoke"  # which is what the fingerprint is made of


def test_a_smoke_run_keeps_every_start_sampler_network_and_option(name):
    full, few = planned(name), planned(name, "scale=smoke")
    assert set(few.methods) < set(full.methods) and len(few.methods) <= 30

    def shown(config, key):
        return {json.dumps(getattr(method, key)) for method in config.methods.values()}

    for key in ("start", "sampler", "group", "source_measure", "targets", "nfe", "heights", "network"):
        assert shown(few, key) == shown(full, key)
    for method in few.methods:
        cells = list(grid.cells(few, method))
        assert not all(cell.reason for cell in cells) and max(cell.nfe_budget for cell in cells) <= 10
    assert grid.problems(few) and len(jobs_of(few).compute()) <= 45  # two fits of mixtures, a learned solver


def test_what_was_scaled_once_stays_as_it_is(name):
    config = planned(name, "scale=smoke")
    assert validate(config.written()) == config  # every job validates the resolved configuration again


def test_a_smoke_run_of_a_set_without_files_keeps_its_images():
    config = load([ROOT / "config" / "digits.yaml"], ["scale=smoke"])
    assert config.dataset == "digits" and config.experiment == "digits_smoke"
    assert config.num_samples == 200 and config.sample_seeds == (0,)


def test_a_folder_of_images_is_replaced_in_the_size_asked_for():
    options = "dataset=folder", "dataset_options={size: 48, channels: 1}", "scale=smoke"
    assert load([ROOT / "config" / "smoke.yaml"], options).dataset_options["shape"] == [1, 48, 48]


def test_a_full_run_merges_what_the_configuration_keeps_for_it():
    base = ROOT / "config" / "smoke.yaml"
    full = "full={experiment: whole, num_samples: 400, methods: {extra: {network: edm, sampler: ddim}}}"
    core, whole = load([base], [full]), load([base], [full, "scale=full"])
    assert core == load([base])
    assert (whole.experiment, whole.num_samples) == ("whole", 400)
    assert set(whole.methods) == {*core.methods, "extra"}
    assert validate(whole.written()) == whole  # in every job again
    last = load([base], [full, "scale=full", "num_samples=300"])
    assert (last.experiment, last.num_samples) == ("whole", 300)  # the command line has the last word
    for scale in ("core", "full"):
        with pytest.raises(ConfigError, match=r'unknown key "num_sample"; did you mean "num_samples"'):
            load([base], ["full={num_sample: 400}", f"scale={scale}"])
    with pytest.raises(ConfigError, match=r"full: .*give keys and values, and none of extends, full, protocol, scale"):
        load([base], ["full={scale: smoke}"])
    with pytest.raises(ConfigError, match=r"scale: this experiment keeps nothing under `full`; leave it out"):
        load([base], ["scale=full"])


def test_some_metrics_are_left_out_of_all_or_of_those_asked_for():
    base = [ROOT / "config" / "toy2d.yaml"]
    named = [name for name in plugins.names("metrics") if name != "label_accuracy"]  # no network has labels
    config = load(base, ["metrics_except=[likelihood]"])
    assert config.metrics == tuple(name for name in named if name != "likelihood")
    assert validate(config.written()) == config
    assert load(base, ["metrics=[ct, frechet]", "metrics_except=[ct]"]).metrics == ("frechet",)
    assert load([ROOT / "config" / "fashion_mnist.yaml"], ["scale=full"]).metrics == tuple(named)
    with pytest.raises(ConfigError, match=r"metrics_except: there is no fld; choose among calibration, copies, ct"):
        load(base, ["metrics_except=[fld]"])
    # What a configuration leaves out need not be among what another asks for.
    assert load(base, ["metrics=[ct]", "metrics_except=[likelihood]"]).metrics == ("ct",)
    with pytest.raises(ConfigError, match=r"metrics_except: ct are all metrics that are asked for; leave one"):
        load(base, ["metrics=[ct]", "metrics_except=[ct]"])


@pytest.mark.parametrize("name", ["smoke", "singular", "singular_toy2d"])
def test_a_smoke_run_couples_every_start_that_is_coupled(name):
    full, few = (load([ROOT / "config" / f"{name}.yaml"], more) for more in ([], ["scale=smoke"]))

    def starts(config):
        return {config.methods[name].start for name in config.coupling.methods}

    assert starts(few) == starts(full) and len(starts(full)) > 1


def test_the_full_block_of_a_base_is_under_what_extends_it(tmp_path):
    (tmp_path / "base.yaml").write_text(
        f"extends: {ROOT}/config/smoke.yaml\nfull: {{num_samples: 400, atom_seed: 4}}\n"
    )
    (tmp_path / "child.yaml").write_text(f"extends: {tmp_path}/base.yaml\nnum_samples: 250\nfull: {{fit_seed: 9}}\n")
    config = load([tmp_path / "child.yaml"], ["scale=full"])
    assert [config.num_samples, config.atom_seed, config.fit_seed] == [250, 4, 9]


def test_weights_train_leaves_out_what_would_be_loaded():
    folder = ROOT / "results" / "reference" / "digits" / "weights"
    base, sha = ROOT / "config" / "smoke.yaml", "0" * 64
    pinned = [
        f"networks={{edm: {{weights: {folder}/edm.safetensors, sha256: '{sha}'}}}}",
        f"classifier={{weights: {folder}/classifier.safetensors}}",
    ]
    loaded, trained = load([base], pinned), load([base], [*pinned, "weights=train"])
    assert loaded.networks["edm"].sha256 == sha and loaded.classifier.weights
    plain = load([base])
    assert trained.networks["edm"].how == "trained" and not trained.classifier.weights
    assert {n: m.plain() for n, m in trained.methods.items()} == {n: m.plain() for n, m in plain.methods.items()}
    with pytest.raises(ConfigError, match=r"weights: networks.ddpm has no `training`, it can only be loaded"):
        load([ROOT / "config" / "gate.yaml"], ["weights=train"])


@pytest.mark.parametrize(("network", "steps", "message"), [
    ("edm", 13, r"networks.edm.training.snapshots: 13 is no step of this training; allowed: 1 to 12"),
    ("student", 1, r"networks.student.training.snapshots: a student is trained without it; leave it out"),
])  # fmt: skip
def test_options_of_a_training_that_would_do_nothing_are_refused(network, steps, message):
    given = f"networks={{{network}: {{training: {{steps: 12, snapshots: [{steps}]}}}}}}"
    with pytest.raises(ConfigError, match=message):
        load([ROOT / "config" / "smoke.yaml"], [given])


def test_another_scale_and_too_few_samples_are_refused():
    with pytest.raises(ConfigError, match=r"scale: .*allowed: core, full, smoke"):
        load([ROOT / "config" / "smoke.yaml"], ["scale=tiny"])
    with pytest.raises(ConfigError, match=r"num_samples: 19 should be greater than or equal to 20"):
        load([ROOT / "config" / "smoke.yaml"], ["num_samples=19"])
    assert load([ROOT / "config" / "smoke.yaml"], ["num_samples=20"]).num_samples == 20


@pytest.mark.parametrize(
    ("height", "width", "side"), [(28, 28, 1), (32, 32, 1), (64, 64, 2), (256, 256, 8), (100, 100, 4), (99, 99, 1)]
)
def test_patches_bring_an_image_to_thirty_two_pixels_as_far_as_they_divide_it(height, width, side):
    assert patch(height, width) == side


def test_an_experiment_without_classes_trains_no_classifier():
    jobs = jobs_of(planned("ffhq"))
    assert "classify" not in {job.name for job in jobs.compute()}
    assert "classify" in {job.name for job in jobs_of(planned("celeba")).compute()}
    assert [*jobs.measure().task.extractors] == ["pixels", "inception"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{crop: 3}", r"dataset_options.crop: 3 is no text"),
        ("{attributes: Male}", r"dataset_options.attributes: 'Male' is no list"),
        ("{corp: face_128}", r'dataset_options: unknown option "corp"; allowed: crop, attributes, num_train'),
    ],
)
def test_options_of_a_data_set_are_checked_before_anything_is_read(options, message):
    with pytest.raises(ConfigError, match=message):
        planned("celeba", f"dataset_options={options}")


def test_prepare_names_the_missing_file_and_downloads_only_when_asked(tmp_path, monkeypatch, capsys):
    arguments = ["--configfile", str(ROOT / "config" / "mnist.yaml"), "--results", str(tmp_path / "r")]
    (tmp_path / "data").mkdir()
    asked = []
    monkeypatch.setattr("dpmot.data._idx.fetch", asked.append)
    for overrides, count in (([], 0), (["download=true"], 1)):
        given = ["--config", f"data_root={tmp_path / 'data'}", *overrides]
        assert cli.main(["prepare", *arguments, *given]) == 1
        assert "Missing in" in (shown := capsys.readouterr().err) and "train-images-idx3-ubyte.gz" in shown
        assert len(asked) == count


def test_a_set_that_can_be_fetched_says_so(tmp_path):
    assert missing_data(planned("mnist", f"data_root={tmp_path}")).endswith("or set download: true to fetch it")
    assert "download" not in missing_data(planned("ffhq", f"data_root={tmp_path}"))


def test_weights_of_inception_are_asked_for_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.delenv("DPMOT_INCEPTION", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    base = ROOT / "config" / "smoke.yaml"
    assert "No Inception weights: give their path" in missing_weights(load([base], ["features=[inception]"]))
    assert missing_weights(load([base], ["features=[inception]", "download=true"])) is None
    assert missing_weights(load([base])) is None


def test_one_class_and_a_classifier_do_not_go_together(tmp_path):
    options = {"of": "ffhq", "shape": [1, 8, 8], "num_images": [30, 30, 30], "num_classes": 1}
    config = load([ROOT / "config" / "smoke.yaml"], ["dataset=stand_in", f"dataset_options={json.dumps(options)}"])
    with pytest.raises(ValueError, match="has one class, its classifier would need two: give `features:` without"):
        prepare.run(Jobs(config, Layout(tmp_path)).prepare(), Layout(tmp_path))


def test_what_is_missing_depends_on_the_options(tmp_path):
    (tmp_path / "celeba").mkdir()
    with_classes, without = (
        missing_data(planned("celeba", f"data_root={tmp_path}", f"dataset_options={{attributes: {given}}}"))
        for given in ("[Male]", "[]")
    )
    assert "list_attr_celeba.txt" in with_classes and "list_attr_celeba.txt" not in without


def test_the_prepared_stand_ins_carry_their_note(tmp_path):
    config = planned("mnist", "scale=smoke")
    layout = Layout(tmp_path)
    prepare.run(Jobs(config, layout).prepare(), layout)
    from dpmot.experiment.stages._prepared import read_data

    parts, _, facts = read_data(layout.data)
    assert facts["note"] == f"{prepare.NO_NUMBER}; in the place of mnist: {stand_in.NOTE}"  # captions print it
    assert [tuple(parts[part].raw.shape) for part in "ABC"] == [(100, 1, 28, 28)] * 3


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_has_a_smoke_run_whose_smoke_run_is_itself(file):
    config = load([file], ["scale=smoke"])
    assert validate(config.written()) == config and config.experiment.endswith("_smoke")
    assert config.num_atoms is None or config.num_atoms <= 100
    assert config.coupling is None or set(config.coupling.methods) <= set(config.methods)


def test_the_vit_classifier_is_asked_for_by_folder_or_card(tmp_path):
    base, vit = ROOT / "config" / "smoke.yaml", "features=[classifier, vit]"
    with pytest.raises(ConfigError, match=r"vit: the feature vit needs `vit: \{weights: FOLDER\}`"):
        load([base], [vit])
    with pytest.raises(ConfigError, match=r'vit.card: No card "vitt" in features/cards.yaml: found vit_cifar10'):
        load([base], [vit, f"vit={{card: vitt, weights: {tmp_path}}}"])
    given = f"vit={{card: vit_cifar10, weights: {tmp_path}}}"
    with pytest.raises(
        ConfigError, match=r"vit.weights: No config.json in .*; download https://huggingface.co/nateraw"
    ):
        load([base], [vit, given])
    (tmp_path / "config.json").write_text('{"model_type": "vit", "image_size": 32}')
    prepares = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepares))
    (tmp_path / "model.safetensors").touch()
    config = load([base], [vit, given])
    assert validate(config.written()) == config
    assert jobs_of(config).measure().task.extractors["vit"] == {"card": "vit_cifar10", "weights": str(tmp_path)}
