"""The typed plan: defaults stand once, files round-trip, and editors get the schema of the types."""

import json
from inspect import signature
from typing import get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

from dpmot import plugins
from dpmot.diffusion.sigmas import FAMILIES
from dpmot.experiment.checks import ConfigError, parsed
from dpmot.experiment.config import load, validate
from dpmot.experiment.plan import Experiment, Method, Network, Transport
from dpmot.experiment.schema import json_schema
from dpmot.plugins import ROOT
from dpmot.transport import SemiDiscreteSolver
from dpmot.transport.solver import METHODS

SCHEMA = ROOT / "config" / "schema.json"
EDM, DDIM = {"kind": "edm", "training": {"steps": 1}}, {"network": "edm", "sampler": "ddim"}
LEAST = {
    **{"experiment": "x", "dataset": "digits", "nfe_budgets": [5], "num_samples": 20, "sample_seeds": [0]},
    **{"networks": {"edm": EDM}, "methods": {"m": DDIM}},
}


def test_the_schema_of_editors_is_that_of_the_types():
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json_schema(), "run: dpmot schema > config/schema.json"


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_passes_the_schema_and_names_it_for_editors(file):
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    errors = list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text)))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_is_written_beside_results_is_read_as_the_same_experiment(file):
    experiment = load([file])
    assert validate(json.loads(json.dumps(experiment.written()))) == experiment


@pytest.mark.parametrize("folder", sorted((ROOT / "results" / "reference").glob("*/experiment.json")), ids=str)
def test_committed_experiments_are_still_read(folder):
    assert Experiment.model_validate(json.loads(folder.read_text(encoding="utf-8"))).methods


def test_a_plan_is_frozen():
    experiment = parsed(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        experiment.num_samples = 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_samples": 19}, "num_samples: 19 should be greater than or equal to 20"),
        ({"num_samples": 20.0}, "num_samples: 20.0 should be a valid integer"),
        ({"num_samples": "20"}, "num_samples: '20' should be a valid integer"),
        ({"threads": True}, "threads: True should be a valid integer"),
        ({"sample_seeds": [0, 0]}, "sample_seeds: 0 stands there twice; name each once"),
        ({"nfe_budgets": [5, 5]}, "nfe_budgets: 5 stands there twice; name each once"),
        ({"transport": {"chi2": float("nan")}}, "transport.chi2: nan should be a finite number"),
        ({"transport": {"chi2": 0}}, "transport.chi2: 0 should be greater than 0"),
        ({"device": "gpu"}, "device: 'gpu' is not one of these; allowed: cpu, cuda, auto"),
        ({"dataset": 3}, "dataset: 3 should be a valid string"),
        ({"experiment": "Ö x"}, r"experiment: 'Ö x' should match pattern '\^\[a-z0-9_\]\+\$'"),
        ({"networks": {}}, 'methods.m: no network "edm" under networks: found none'),
        (
            {"networks": {"edm": {}}},
            "networks.edm: {} is not allowed here; a network has a kind, or a card and weights",
        ),
        ({"networks": {"edm": {"kind": "edm", "card": "x"}}}, "networks.edm: .* a card and weights"),
        ({"methods": {"m": {"sampler": "ddim"}}}, 'methods.m: the key "network" is missing'),
        ({"methods": {"m": {**DDIM, "level": "x"}}}, "methods.m.level: 'x' is not allowed here; sigma_M is"),
        ({"methods": {"m": {**DDIM, "level": [1, -1]}}}, "methods.m.level: .*a list of such"),
        ({"methods": {"m": {**DDIM, "nfe_budgets": ["all"]}}}, "nfe_budgets.0: 'all' is not allowed"),
        ({"methods": {"m": None}}, "methods: {} has too few entries"),
        ({"methods": [1]}, r"methods: \[1\] is no mapping"),
        ({"networks": {"edm": {**EDM, "training": {"rate": 2}}}}, 'training: unknown key "rate"; allowed: batch'),
        ({"vit": 3}, "feature_options.vit: 3 is no mapping"),
        ({"feature": ["pixels"]}, 'config: unknown key "feature"; did you mean "features"'),
        ({"classifier": {"sha256": "a" * 64}}, "classifier: sha256 is that of a file; give its weights too"),
    ],
)
def test_a_value_of_another_type_is_one_line(change, told):
    with pytest.raises(ConfigError, match=told) as caught:
        validate({**LEAST, **change})
    assert "\n" not in str(caught.value)


def test_an_experiment_without_pages_stays_without():
    bare = validate({**LEAST, "tables": []})
    assert bare.tables == () and validate(bare.written()) == bare


def test_twenty_samples_are_allowed():
    assert validate(LEAST).num_samples == 20


def test_names_and_numbers_that_stand_in_two_places_agree():
    assert signature(SemiDiscreteSolver).parameters["chi2"].default == Transport().chi2
    assert set(get_args(get_args(Transport.model_fields["method"].annotation)[0])) == {"auto", *METHODS}
    assert set(get_args(get_args(Method.model_fields["grid"].annotation)[0])) == {"vp", "gits", *FAMILIES}


def test_how_a_network_comes_about():
    training = {"steps": 1}
    kinds = {
        "trained": {"kind": "edm", "training": training},
        "loaded": {"kind": "edm", "training": training, "weights": "w.pt"},
        "student": {"distillation": "progressive", "teacher": "edm", "training": training},
        "exact": {"kind": "ideal"},
    }
    assert {name: Network(**given).how for name, given in kinds.items()} == {name: name for name in kinds}


def test_options_of_extractors_stand_under_their_names_or_an_alias():
    given = validate({**LEAST, "vit": {"weights": "folder"}, "inception_weights": __file__})
    assert given.feature_options == {"inception": {"weights": __file__}, "vit": {"weights": "folder"}}
    assert set(json_schema()["properties"]) >= {*plugins.names("features"), "inception_weights", "only", "extends"}
