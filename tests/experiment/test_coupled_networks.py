"""Networks that are coupled in training and that rewire others: what is planned, refused, trained and said of them."""

import importlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dpmot.diffusion import network
from dpmot.diffusion.denoiser import TiledDenoiser
from dpmot.diffusion.protocols import is_posterior_mean
from dpmot.experiment.checks import ConfigError
from dpmot.experiment.config import describe, validate
from dpmot.experiment.jobs import STAGES, Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.members import members
from dpmot.plugins import ROOT

UNET = {"channels": 8, "multipliers": [1], "embedding": 16, "attention": False}
FEW = {"steps": 2, "batch": 4}
NETWORKS = {
    "edm": {"kind": "edm", "options": {"sigma_data": 0.75}, "unet": UNET, "training": FEW},
    "wired": {"rewires": "edm", "training": {**FEW, "coupling": "semidiscrete", "chi2": 1.0}},
    "control": {"rewires": "edm", "training": FEW},
    "batch": {"rewires": "edm", "training": {**FEW, "coupling": "minibatch", "noises": 8, "level": "uniform_t"}},
    "student": {"distillation": "progressive", "teacher": "wired", "step_counts": [2], "training": FEW},
    "labels": {
        **{"kind": "edm", "unet": {**UNET, "classes": 10}},
        "training": {**FEW, "coupling": "semidiscrete", "chi2": 1.0, "mirrored": True},
    },
}
NETWORKS["straight"] = {
    **{"distillation": "reflow", "teacher": "edm", "training": FEW},
    "options": {"pairs": 4, "teacher_steps": 1, "levels": 2},
}
METHODS = {name: {"network": name, "sampler": "ddim"} for name in NETWORKS}
CONFIG = {
    **{"experiment": "x", "dataset": "digits", "nfe_budgets": [2], "num_samples": 20, "sample_seeds": [0]},
    **{"networks": NETWORKS, "methods": METHODS, "tables": []},
}


def planned(networks=None, methods=None, **more):
    whole = {**CONFIG, "networks": {**NETWORKS, **(networks or {})}, "methods": {**METHODS, **(methods or {})}, **more}
    return validate(whole)


def refused(*given, **more):
    with pytest.raises(ConfigError) as error:
        planned(*given, **more)
    return str(error.value)


def test_a_plan_says_what_a_coupled_network_is_and_that_of_whom():
    lines = list(describe(planned()))
    assert "network wired: rewires edm in 2 steps, semidiscrete coupling: no posterior mean" in "\n".join(lines)
    assert any(line.startswith("network student: semidiscrete") for line in lines)
    assert not any(line.startswith(("network edm", "network control")) for line in lines)
    assert "pair clean_chi2_1: the map onto the clean images, chi2 1, for wired, student" in lines
    assert {*validate({**CONFIG, "only": ["student"]}).networks} == {"edm", "wired", "student"}  # all that it needs


def test_a_network_that_rewires_has_kind_options_and_unet_of_the_first():
    experiment = planned({"again": {"rewires": "wired", "options": {"sigma_max": 70.0}, "training": FEW}})
    again = experiment.networks["again"]
    assert (again.kind, again.unet) == ("edm", experiment.networks["edm"].unet)
    assert again.options == {"sigma_data": 0.75, "sigma_max": 70.0}
    assert validate(experiment.written()).networks == experiment.networks  # from experiment.json comes the same


def test_a_coupling_that_is_independent_plans_as_none_is():
    def task(training):
        networks = {"edm": {**NETWORKS["edm"], "training": training}}
        return Jobs(validate({**CONFIG, "networks": networks, "methods": {"edm": METHODS["edm"]}}), Layout(ROOT))

    plain, stated = task(FEW), task({**FEW, "coupling": "independent"})
    assert "coupling" not in json.dumps(plain.train("edm").identity) and not plain.pairings and not stated.pairings
    assert stated.train("edm").task.coupling is None


def test_one_map_serves_all_trainings_of_one_chi2_and_labels_have_maps_of_their_own():
    networks = {
        "second": {"rewires": "edm", "training": {**FEW, "coupling": "semidiscrete", "chi2": 1.0, "tau": 2.0}},
        "better": {"rewires": "edm", "training": {**FEW, "coupling": "semidiscrete"}},
    }
    jobs = Jobs(planned(networks), Layout(ROOT / "x"))
    assert set(jobs.pairings) == {"clean_chi2_1", "clean_chi2_0_01", "clean_chi2_1_per_class"}
    assert jobs.layout.pairing("clean_chi2_1") in jobs.train("second").inputs
    assert jobs.layout.pairing("clean_chi2_1_per_class") in jobs.train("labels").inputs
    assert jobs.layout.network("edm") in jobs.train("wired").inputs
    assert jobs.layout.pairing("clean_chi2_1") in jobs.train("student").inputs  # its teacher's
    assert jobs.train("wired").inputs == jobs.train("second").inputs


def test_members_rewire_members():
    each = members(planned(training_seeds=[0, 3]))
    assert each.experiment.networks["wired_t3"].rewires == "edm_t3" and each.origin["wired_t3"] == "wired"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start": "transport", "level": 1}, "start transport begins with noise that is independent of the image"),
        ({"start": "mixture", "level": 1, "start_options": {"components": 2}}, "start mixture begins with noise"),
        ({"start": "copy", "level": 1}, "start copy begins"),
        ({"start": "fresh_noise", "level": 1}, "start fresh_noise begins"),
        ({"start": "gaussian", "level": 1}, "start gaussian begins"),
        ({"sampler": "ddpm"}, "sampler ddpm draws noise on its way; use a deterministic one"),
        ({"options": {"eta": 0.5}}, "sampler ddim with eta 0.5 draws noise on its way"),
    ],
)
@pytest.mark.parametrize("name", ["wired", "student", "consistent", "straight"])
def test_what_needs_a_posterior_mean_is_refused_on_a_coupled_network(changes, told, name):
    consistent = {"distillation": "consistency", "teacher": "wired", "training": FEW}
    said = refused({"consistent": consistent}, {"one": {"network": name, "sampler": "ddim", **changes}})
    if name == "student" and "level" in changes:  # no student of step counts, coupled or not, starts there
        assert "methods.one: no budget can be met" in said and "the karras grid it was distilled for" in said
        return
    law = "reflow" if name == "straight" else "semidiscrete"
    assert said.startswith("methods.one") and told in said
    assert f"network {name} is trained with the {law} coupling and is no posterior mean" in said


def test_deterministic_samplers_learned_ones_too_and_the_control_are_allowed():
    methods = {
        "heun": {"network": "wired", "sampler": "edm"},
        "pas": {"network": "wired", "sampler": "pas"},
        "gs": {"network": "wired", "sampler": "gs"},
        "ipndm": {"network": "wired", "sampler": "ipndm"},
        "stochastic": {"network": "control", "sampler": "ddpm"},
        "transport": {"network": "control", "sampler": "ddim", "start": "transport", "level": 1},
    }
    assert planned(None, methods, nfe_budgets=[4]).drawn.keys() >= methods.keys()


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"rewires": "nobody"}, 'rewires: "nobody" is no network here'),
        ({"rewires": "student"}, 'rewires: "student" is a student'),
        ({"rewires": "exact"}, "exact is exact or only loaded"),
        ({"rewires": "one"}, "one rewires one: none of them is the first"),
        (
            {"rewires": "edm", "unet": {"channels": 16}},
            "unet.channels: 16, and edm has 8, whose weights it goes on from",
        ),
        ({"rewires": "edm", "unet": {"dropout": 0.5}}, "unet.dropout: 0.5, and edm has the default"),
        ({"rewires": "edm", "kind": "flow"}, "edm is of kind edm, so this one is, too"),
        ({"rewires": "edm", "training": None}, "is not allowed here"),
        ({"rewires": "edm", "training": {**FEW, "tau": 1.0}}, "tau is of coupling: semidiscrete, not of independent"),
        ({"rewires": "edm", "training": {**FEW, "coupling": "minibatch", "tau": 1.0}}, "not of minibatch"),
        ({"rewires": "edm", "training": {**FEW, "coupling": "ot"}}, "'ot' is not one of these"),
    ],
)
def test_what_cannot_be_rewired_is_refused(network, told):
    one = {key: value for key, value in {"training": FEW, **network}.items() if value is not None}
    assert told in refused({"one": one, "exact": {"kind": "ideal"}}, {"one": {"network": "one", "sampler": "ddim"}})


@pytest.mark.parametrize(
    ("kind", "options", "allowed"),
    [
        ("edm", {"sigma_data": 0.1}, "num_levels, sigma_min, sigma_max, mean, std"),
        ("edm", {"prediction": "v_prediction"}, "num_levels, sigma_min, sigma_max, mean, std"),
        ("edm", {"boundary": 0.001}, "num_levels, sigma_min, sigma_max, mean, std"),
        ("ncsnv2", {"conditional": True}, "num_levels, sigma_min, sigma_max"),
        ("ddpm", {"beta_max": 0.03}, "none"),
        ("ddpm", {"num_levels": 500}, "none"),
        ("dit", {"schedule": "sigmoid"}, "none"),
    ],
)
def test_a_rewired_network_changes_no_option_that_says_what_weights_mean(kind, options, allowed):
    first = {"kind": kind, "training": FEW, **({} if kind == "dit" else {"unet": UNET})}
    given = {"first": first, "one": {"rewires": "first", "options": options, "training": FEW}}
    ((key, value),) = options.items()
    said = refused(given, {"one": {"network": "one", "sampler": "ddim"}})
    assert f"networks.one.options.{key}: {value!r}, and first has" in said and said.endswith(f"allowed: {allowed}")
    given["first"]["options"] = options
    assert "one" in planned(given, {"one": {"network": "one", "sampler": "ddim"}}).networks  # the same, said again


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("edm", {"num_levels": 12, "sigma_min": 0.01, "sigma_max": 70.0, "mean": 0.0, "std": 1.5}),
        ("flow", {"num_levels": 500, "sigma_max": 1e4}),
        ("meanflow", {"num_levels": 500, "sigma_max": 1e4, "spanned": 0.5, "power": 0.5}),
        ("ncsnv2", {"num_levels": 100, "sigma_min": 0.1, "sigma_max": 50.0}),
    ],
)
def test_a_rewired_network_may_have_other_levels(kind, options):
    networks = {"first": {"kind": kind, "unet": UNET, "training": FEW}}
    networks["one"] = {"rewires": "first", "options": options, "training": FEW}
    assert planned(networks, {"one": {"network": "one", "sampler": "ddim"}}).networks["one"].options == options


def test_a_student_follows_its_teachers_coupling():
    other = {**NETWORKS["student"], "training": {**FEW, "coupling": "minibatch"}}
    assert "a student follows its teacher wired, whose coupling is semidiscrete" in refused({"student": other})
    other = {**NETWORKS["student"], "teacher": "edm", "training": {**FEW, "coupling": "minibatch"}}
    assert "whose coupling is independent" in refused({"student": other})


def test_a_batch_of_more_pairs_than_are_assigned_together_is_refused():
    few, unsaid = {**NETWORKS["batch"]["training"], "noises": 3}, {"steps": 2, "coupling": "minibatch", "noises": 127}
    told = "networks.batch.training.noises: 3, of which no batch of 4 can be taken; give at least 4, a smaller batch"
    assert told in refused({"batch": {**NETWORKS["batch"], "training": few}})
    assert "no batch of 128 can be taken" in refused({"batch": {**NETWORKS["batch"], "training": unsaid}})
    late = {**NETWORKS["student"], "teacher": "batch", "training": {**FEW, "batch": 9}}
    assert "networks.late.training.noises: 8 of teacher batch, of which no batch of 9" in refused({"late": late})
    assert "late" in planned({"late": {**late, "training": {**FEW, "batch": 8}}}).networks


def written(path, coupling):
    """A file whose card says how its network was coupled, without weights: a plan reads the card alone."""
    card = {"kind": "edm", "options": {}, "shape": [1, 8, 8], "unet": UNET, "coupling": {"kind": coupling}}
    network.save(path, card, {None: {"weight": torch.zeros(1)}})
    return {"kind": "edm", "unet": UNET, "weights": str(path)}


def test_files_by_training_seed_say_what_they_are_when_the_run_is_planned(tmp_path):
    for seed in (0, 1):
        loaded = written(tmp_path / f"of_{seed}.safetensors", "semidiscrete")
    loaded["weights"] = str(tmp_path / "of_{training_seed}.safetensors")
    given = {"one": {"network": "loaded", "sampler": "ddim"}}
    lines = list(describe(planned({"loaded": loaded}, given, training_seeds=[0, 1])))
    assert any(line.startswith("network loaded: semidiscrete coupling") for line in lines)
    given["one"]["sampler"] = "ddpm"
    assert "sampler ddpm draws noise on its way" in refused({"loaded": loaded}, given, training_seeds=[0, 1])


def test_a_loaded_reflow_network_has_no_pairs_that_a_student_could_follow(tmp_path):
    networks = {"loaded": written(tmp_path / "of.safetensors", "reflow")}
    networks["late"] = {**NETWORKS["student"], "teacher": "loaded"}
    assert "teacher loaded was trained with the reflow coupling, whose pairs are not kept" in refused(networks)


def test_a_file_that_was_coupled_otherwise_than_its_training_says_is_refused(tmp_path):
    file = written(tmp_path / "of.safetensors", "semidiscrete")
    said = refused({"loaded": {**file, "training": FEW}})
    assert "its coupling is independent" in said and "was trained with coupling semidiscrete" in said
    assert "loaded" in planned({"loaded": {**file, "training": {**FEW, "coupling": "semidiscrete"}}}).networks


def test_a_sampler_of_spans_is_allowed_on_a_coupled_network_that_knows_them():
    spans = {"kind": "meanflow", "unet": UNET, "training": {**FEW, "coupling": "minibatch"}}
    assert "one" in planned({"spans": spans}, {"one": {"network": "spans", "sampler": "meanflow"}}).drawn
    student = {**NETWORKS["student"], "teacher": "spans"}
    said = refused({"spans": spans, "late": student}, {"one": {"network": "late", "sampler": "meanflow"}})
    assert "student late was distilled without spans" in said


def test_no_level_without_copying_is_sought_on_a_coupled_network():
    selection = {"network": "wired", "sampler": "ddim", "nfe": 2, "sigmas": [1.0]}
    assert "so it has no sigma_M*" in refused(selection=selection)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every network of CONFIG, trained for two steps."""
    jobs = Jobs(planned(), Layout(tmp_path_factory.mktemp("coupled")))
    for job in (jobs.prepare(), *map(jobs.pair, jobs.pairings), *map(jobs.train, NETWORKS)):
        importlib.import_module(f"{STAGES}.{job.stage}").run(job, jobs.layout)
    return jobs


def test_the_card_says_what_it_came_from_how_it_was_coupled_and_how_many_images_it_saw(trained):
    cards = {name: network.load(trained.layout.network(name)).card for name in NETWORKS}
    assert cards["wired"]["rewired"]["network"] == "edm" and cards["wired"]["rewired"]["images_seen"] == 8
    assert cards["wired"]["trained"]["images_seen"] == 8 and cards["wired"]["trained"]["images_seen_in_all"] == 16
    coupling = cards["wired"]["coupling"]
    assert coupling["kind"] == "semidiscrete" and 0 < coupling["off"] < 1 and coupling["chi2"] < 1
    assert cards["batch"]["coupling"] == {"kind": "minibatch", "noises": 8}
    assert cards["labels"]["coupling"].items() >= {"kind": "semidiscrete", "mirrored": True}.items()
    assert cards["straight"]["coupling"] == {"kind": "reflow"}
    assert cards["student"]["coupling"] == coupling and "coupling" not in cards["control"]


@pytest.mark.parametrize(("able", "tau", "rounded"), [(True, None, True), (True, 1.0, False), (False, None, False)])
def test_the_card_says_rounded_where_products_are(able, tau, rounded, trained, monkeypatch):
    from dpmot.experiment.stages import _rewiring

    task = trained.train("wired").task
    asked = {**task.coupling, "rounded": True, **({"tau": tau} if tau else {})}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": able}, raising=False)
    facts = network.load(trained.layout.network("wired")).card
    images = _rewiring.read(trained.layout.data)[0]["A/images"]
    paired, facts = _rewiring.coupled(replace(task, coupling=asked), trained.layout, facts, images, None)
    assert paired.pairing.rounded == rounded == facts["coupling"].get("rounded", False)


def test_the_denoiser_says_what_it_is(trained):
    loaded = {name: network.load(trained.layout.network(name)) for name in NETWORKS}
    means = {name: is_posterior_mean(TiledDenoiser(one.denoiser(2))) for name, one in loaded.items()}
    assert {name for name, mean in means.items() if mean} == {"edm", "control"}


def test_rewiring_begins_at_the_averaged_weights_of_the_first(trained, monkeypatch):
    from dpmot.experiment.stages import train

    seen = {}

    def none(model, *given, **more):
        seen.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return train.Fit({name: p.detach() for name, p in model.named_parameters()}, [])

    monkeypatch.setattr(train, "Fit", importlib.import_module("dpmot.diffusion.training").Fit, raising=False)
    monkeypatch.setattr(train, "fit", none)
    before = trained.layout.network("control").read_bytes()
    train.run(trained.train("control"), trained.layout)
    trained.layout.network("control").write_bytes(before)
    first = network.load(trained.layout.network("edm")).denoiser(0).model.state_dict()
    assert seen.keys() == first.keys() and all(torch.equal(seen[name], first[name]) for name in first)


def test_noise_on_the_way_is_refused_at_run_time_too(trained):
    from dpmot.experiment.stages.sample import LoadedMethod

    job = trained.sample("wired")
    stochastic = replace(job, task=replace(job.task, method=job.task.method.but(sampler="ddpm")))
    loaded = LoadedMethod.load(stochastic, trained.layout)
    with pytest.raises(
        ValueError, match=r"ddpm\.py draws noise on its way, and network wired was trained with a coupl"
    ):
        loaded.draw(job.task.cells[0])
    copying = replace(job, task=replace(job.task, method=job.task.method.but(start="copy", level=1)))
    with pytest.raises(ValueError, match="network wired was trained with a coupling of noise and images: start copy"):
        LoadedMethod.load(copying, trained.layout)
    guided = replace(job, task=replace(job.task, method=job.task.method.but(guidance=2.0)))
    with pytest.raises(ValueError, match=r"network wired was trained with a coupling .* guidance 2 adds up scores"):
        LoadedMethod.load(guided, trained.layout)
    drawn, counted = LoadedMethod.load(job, trained.layout).draw(job.task.cells[0])
    assert counted == 2 and len(drawn["images"]) == 20


def test_a_file_of_a_student_is_not_rewired(monkeypatch, tmp_path):
    from dpmot.experiment.stages import _rewiring

    student = SimpleNamespace(card={"distilled": {"method": "consistency"}, "shape": [1, 8, 8]}, denoisers={None: None})
    monkeypatch.setattr(_rewiring.network, "load", lambda path: student)
    task = SimpleNamespace(name="one", network=SimpleNamespace(rewires="loaded"))
    with pytest.raises(ValueError, match=r"networks\.one\.rewires: loaded was distilled; a network is rewired"):
        _rewiring.rewired(task, Layout(tmp_path), {})


def test_a_network_that_is_told_classes_is_not_coupled_by_one_map_of_all(trained):
    from dpmot.experiment.stages import _rewiring

    job, images = trained.train("wired"), torch.zeros(4, 1, 8, 8)
    facts = {**network.load(trained.layout.network("labels")).card}
    told = r"networks\.wired: one map of all images would bias each class, .*: state unet: \{classes: 10\}"
    with pytest.raises(ValueError, match=told):
        _rewiring.coupled(job.task, trained.layout, facts, images, torch.arange(4))
