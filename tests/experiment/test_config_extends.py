"""A configuration that extends another, and options that are refused before anything is trained."""

import os

import pytest

from dpmot.experiment.config import ConfigError, describe, load, validate
from dpmot.plugins import ROOT


def test_what_it_extends_is_found_from_here_and_from_the_projects_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load([ROOT / "config" / "digits_full.yaml"]).dataset == "digits"
    (tmp_path / "base.yaml").write_text((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nexperiment: mine\n")
    assert load([tmp_path / "mine.yaml"]).experiment == "mine"


def test_a_configuration_that_extends_itself_is_refused(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"extends: {tmp_path}{os.sep}{other}.yaml\n")
    with pytest.raises(
        ConfigError, match=r"extends: .*b.yaml extends .*a.yaml extends .*b.yaml: a configuration cannot"
    ):
        load([tmp_path / "a.yaml"])


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"kind": "ddpm", "options": {"num_levels": 0}}, "DDPM needs at least 2 levels, got num_levels 0"),
        ({"kind": "ddpm", "options": {"num_levels": 4.5}}, r"options.num_levels: 4.5 is no integer"),
        ({"kind": "ddpm", "options": {"beta_min": 0.1, "beta_max": 0.02}}, "0 < beta_min <= beta_max < 1"),
        ({"kind": "edm", "options": {"sigma_min": -1}}, "0 < sigma_min < sigma_max, got num_levels 18, sigma_min -1"),
        ({"kind": "edm", "options": {"sigma_data": 0}}, "EDM needs sigma_data > 0"),
        ({"kind": "ncsnv2", "options": {"conditional": 2}}, r"options.conditional: 2 is no boolean"),
        ({"distillation": "consistency", "options": {"levels": 1}}, r"options.levels: 1 is no integer of at least 2"),
        (
            {"distillation": "knowledge", "step_counts": [1], "options": {"pairs": 0}},
            r"options.pairs: 0 is no integer of at least 1",
        ),
    ],
)
def test_options_of_a_network_are_checked_before_anything_is_trained(network, said):
    teacher = {"teacher": "ddpm"} if "distillation" in network else {}
    with pytest.raises(ConfigError, match=rf"networks.new.*{said}"):
        load(["config/smoke.yaml"], [f"networks={{new: { ({**network, **teacher, 'training': {'steps': 5}}) }}}"])


def test_an_exact_network_has_no_students():
    students = "{new: {distillation: consistency, teacher: exact, training: {steps: 5}}}"
    with pytest.raises(
        ConfigError, match=r"networks.new.teacher: exact is exact, there is nothing in it to train further"
    ):
        load(["config/toy2d.yaml"], [f"networks={students}"])


@pytest.mark.parametrize(
    ("protocol", "samples", "seeds"), [("edm", 50_000, 3), ("dpm-ot", 40_000, 1), ("adm", 50_000, 1)]
)
def test_a_protocol_fills_in_samples_and_seeds_and_what_is_given_wins(tmp_path, protocol, samples, seeds):
    text = (ROOT / "config" / "toy2d.yaml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith(("num_samples:", "sample_seeds:"))]
    (tmp_path / "mine.yaml").write_text("\n".join([*kept, f"protocol: {protocol}"]))
    found = load([tmp_path / "mine.yaml"])
    assert found.num_samples == samples and len(found.sample_seeds) == seeds
    assert load([tmp_path / "mine.yaml"], ["num_samples=300"]).num_samples == 300
    (tmp_path / "over.yaml").write_text(f"extends: {ROOT / 'config' / 'toy2d.yaml'}\nprotocol: {protocol}\n")
    assert load([tmp_path / "over.yaml"]).num_samples == samples  # what is extended yields
    with pytest.raises(ConfigError, match=r"protocol: .*allowed: edm, dpm-ot, adm"):
        load([tmp_path / "mine.yaml"], ["protocol=mine"])


def test_a_change_of_one_key_leaves_those_that_share_its_anchor():
    given = load([ROOT / "config" / "cifar10.yaml"], ["networks={ddpm: {training: {steps: 300000}}}"])
    steps = {name: given.networks[name].training.steps for name in ("ddpm", "edm", "ncsnv2")}
    assert steps == {"ddpm": 300_000, "edm": 400_000, "ncsnv2": 400_000}


def test_a_subset_of_the_methods_takes_what_hangs_on_it_and_says_what_it_leaves_out():
    some = load([ROOT / "config" / "smoke.yaml"], ["only=[ddpm, copy]"])
    assert list(some.methods) == ["ddpm", "copy"] and list(some.networks) == ["ddpm"]
    assert some.selection is None and some.identity is None and some.coupling.methods == ("ddpm", "copy")
    assert some.experiment == "smoke_only_ddpm__copy"
    (told,) = [note for note in some.notes if note.startswith("left out")]
    for part in (
        "methods edm, student,",
        "1 of 1 pairs of the identity",
        "search for sigma_M*",
        "networks edm, student",
    ):
        assert part in told
    student = load([ROOT / "config" / "smoke.yaml"], ["only=[student, dpm_ot_star]"])
    assert list(student.networks) == ["edm", "student"] and student.selection is not None  # a teacher, and sigma_M*
    with pytest.raises(ConfigError, match=r'only: no method "ddmp" here: did you mean "ddpm"\? found ddpm'):
        load([ROOT / "config" / "smoke.yaml"], ["only=[ddmp]"])


def test_a_file_that_extends_another_may_remove_methods(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        f"extends: {ROOT}/config/smoke.yaml\nexperiment: mine\nmethods: {{identity_copy: null, dpm_ot_star: null}}\n"
    )
    mine = load([tmp_path / "mine.yaml"])
    assert not {"identity_copy", "dpm_ot_star"} & set(mine.methods) and "identity_ot" in mine.methods
    assert mine.identity is None and mine.selection is None and mine.experiment == "mine"


def test_overridden_values_have_a_folder_of_their_own_unless_it_is_named():
    base = [ROOT / "config" / "smoke.yaml"]
    assert load(base, ["num_samples=400"]).experiment == "smoke_num_samples_400"
    assert load(base, ["num_samples=200"]).experiment == "smoke"  # as it is written
    assert load(base, ["threads=2", "figures=[]"]).experiment == "smoke"  # how it runs, and what is drawn of it
    assert load(base, ["num_samples=400", "experiment=mine"]).experiment == "mine"
    long = load(base, ["nfe_budgets=[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]"])
    assert len(long.experiment) == len("smoke_") + 8
    (note,) = load(base, ["num_samples=400"]).notes
    assert note.endswith("results go to smoke_num_samples_400; experiment=smoke writes over smoke")


def test_names_of_overridden_experiments_tell_them_apart(tmp_path):
    toy = [ROOT / "config" / "toy2d.yaml"]
    names = {load(toy, [f"dataset_options={{std: {std}}}"]).experiment for std in (1.0, 1, 0.5)}
    assert len(names) == 3
    assert load(toy, ["training_seed=0", "weights=load"]).experiment == "toy2d"  # the defaults
    full = load([ROOT / "config" / "smoke.yaml"], ["full={num_samples: 30}", "scale=full"])
    assert full.num_samples == 30 and full.experiment != "smoke" and full.notes
    small = load([ROOT / "config" / "smoke.yaml"], ["num_samples=25", "scale=smoke"])
    assert small.experiment == "smoke_num_samples_25_smoke" and validate(small.written()) == small
    (tmp_path / "few.yaml").write_text(f"extends: {ROOT}/config/smoke.yaml\nmethods: {{copy: null}}\n")
    assert load([tmp_path / "few.yaml"]).experiment == "few"  # and not smoke, over which it would write
    (tmp_path / "more.yaml").write_text("num_samples: 300\n")
    assert load([ROOT / "config" / "smoke.yaml", tmp_path / "more.yaml"]).experiment == "smoke_num_samples_300"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("only=[]", r"only: \[\] leaves no method; name some of ddpm,"),
        ("only={}", r'only: no method "{}" here'),
        ("only=[[1]]", r'only: no method "\[1\]" here'),
        ("methods={dppm: null}", r'methods: no method "dppm" to take away: did you mean "ddpm"'),
        ("methods={5: null}", r'methods: no method "5" to take away'),
        ("notes=5", r"notes: 5 is no list"),
        ("feature_options={classifier: {}}", r"feature_options: options of an extractor stand under its own name"),
        ("features=[mixture]", r"features: mixture looks at points of a mixture, which digits does not have"),
        ("methods={real_train: {network: edm, sampler: ddim}}", r"methods.real_train: real_train is a name of the"),
        ("networks={classifier: {kind: edm, training: {steps: 1}}}", r"networks.classifier: classifier is a name of"),
        ("coupling={moves: [0.1, 0.1]}", r"coupling.moves: 0.1 stands there twice"),
        ("full=5", r"full: 5; give keys and values"),
        ("features=classifier", r"features: 'classifier' is no list"),
        ("networks={edm: null}", r"networks.edm: None is no mapping"),
    ],
)
def test_odd_overrides_are_one_line(override, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load([ROOT / "config" / "smoke.yaml"], [override])
    assert "\n" not in str(caught.value)


def test_an_alias_and_the_option_that_it_gives_are_not_both_given():
    given = ["inception_weights=README.md", "inception={weights: setup.py}"]
    with pytest.raises(ConfigError, match=r"inception_weights and inception.weights say the same; give one of them"):
        load([ROOT / "config" / "smoke.yaml"], given)


def test_a_configuration_that_does_not_exist_is_guessed():
    with pytest.raises(ConfigError, match=r'configuration config/digit.yaml: .*; did you mean "config/digits.yaml"'):
        load(["config/digit.yaml"])


@pytest.fixture
def chosen(tmp_path):
    """A file that extends config/smoke.yaml, with two of its methods, and one that extends this file."""
    (tmp_path / "two.yaml").write_text(f"extends: {ROOT}/config/smoke.yaml\nexperiment: two\nonly: [ddpm, copy]\n")
    (tmp_path / "more.yaml").write_text(f"extends: {tmp_path}/two.yaml\nexperiment: more\nnum_samples: 30\n")
    return tmp_path


@pytest.mark.parametrize("name", ["two", "more"])
def test_what_a_file_leaves_out_itself_is_the_experiment_as_it_is_written_and_said(chosen, name):
    one = load([chosen / f"{name}.yaml"])
    assert list(one.methods) == ["ddpm", "copy"] and one.experiment == name and one.notes == ()
    (told,) = one.left_out
    assert told.startswith("left out: methods edm, student,") and "networks edm, student" in told
    assert validate(one.written()) == one and told in list(describe(one))


def test_methods_that_a_file_takes_away_are_left_out_by_it(tmp_path):
    (tmp_path / "few.yaml").write_text(f"extends: {ROOT}/config/smoke.yaml\nmethods: {{copy: null}}\n")
    few = load([tmp_path / "few.yaml"])
    assert few.notes == () and "methods copy" in few.left_out[0]
    whole = load([ROOT / "config" / "smoke.yaml"])
    assert whole.left_out == () and "left_out" not in whole.written()


def test_what_the_command_line_leaves_out_is_not_the_experiment_as_it_is_written(chosen):
    one = load([chosen / "two.yaml"], ["only=ddpm"])
    assert list(one.methods) == ["ddpm"] and one.left_out == () and one.experiment == "two_only_ddpm"
    assert any(note.startswith("left out: methods edm, student,") for note in one.notes)
    other = load([chosen / "two.yaml"], ["only=edm"])  # which the file leaves out
    assert list(other.methods) == ["edm"] and any(note.startswith("left out: methods ddpm,") for note in other.notes)


def test_each_says_its_own_where_file_and_command_line_leave_methods_out(tmp_path):
    (tmp_path / "few.yaml").write_text(f"extends: {ROOT}/config/smoke.yaml\nmethods: {{copy: null}}\n")
    one = load([tmp_path / "few.yaml"], ["methods={student: null}"])
    assert "methods copy" in one.left_out[0] and "student" not in one.left_out[0]
    assert any("methods student" in note and "copy" not in note for note in one.notes if note.startswith("left out"))
