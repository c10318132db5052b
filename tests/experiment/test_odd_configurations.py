"""A configuration means what it says, or the plan refuses it in one line, before anything is trained."""

import shutil
from collections.abc import Sequence

import numpy as np
import pytest
import yaml

from dpmot import cli
from dpmot.experiment import refusals, yaml_text
from dpmot.experiment.config import ConfigError, load, typed, validate
from dpmot.plugins import ROOT

DDIM = {"network": "exact", "sampler": "ddim"}
OT, COPY = ({**DDIM, "start": start, "level": 1.0} for start in ("transport", "copy"))
TOY = {
    **{"experiment": "toy", "dataset": "gaussians", "nfe_budgets": [5], "num_samples": 200, "sample_seeds": [0]},
    **{"networks": {"exact": {"kind": "mixture"}}, "methods": {"m": DDIM}, "tables": []},
}
EDM = {"kind": "edm", "training": {"steps": 1}}
IMAGES = {**TOY, "networks": {"e": EDM}, "methods": {"m": {"network": "e", "sampler": "ddim"}}}


def of(method, **changes):
    return {"methods": {"m": {**DDIM, **method}}, **changes}


def compared(**identity):
    return {"methods": {"ot": OT, "copy": COPY}, "identity": {"pairs": [["ot", "copy"]], **identity}}


TWICE = {
    "levels": (of({**OT, "level": [0.5, 0.5]}), r"m.level: 0.5 stands there twice"),
    "1 and 1.0": (of({**OT, "level": [1, 1.0]}), r"m.level: 1 stands there twice"),
    "levels that agree in six digits": (of({**OT, "level": [0.5, 0.50000001]}), r"0.5 and 0.50000001 are one level"),
    "levels of the search": (
        {"selection": {"network": "exact", "sampler": "ddim", "nfe": 5, "sigmas": [1, 1.0]}},
        r"selection.sigmas: 1 stands there twice",
    ),
    "seeds": (of({"sample_seeds": [3, 3]}), r"m.sample_seeds: 3 stands there twice"),
    "budgets": (of({"nfe_budgets": ["full", 5, "full"]}), r"m.nfe_budgets: 'full' stands there twice"),
    "snapshots": (
        {
            **IMAGES,
            "dataset": "digits",
            "networks": {"e": {"kind": "edm", "training": {"steps": 9, "snapshots": [1, 1]}}},
        },
        r"snapshots: 1 stands there twice",
    ),
    "pairs": (compared(pairs=[["ot", "copy"], ["copy", "ot"]]), r"identity: \('copy', 'ot'\) stands there twice"),
    "margins": (
        compared(margins={"off_mode_mixture": 0.1}, relative_margins={"off_mode_mixture": 0.1}),
        r"identity: 'off_mode_mixture' stands there twice",
    ),
    "one method as a pair": (compared(pairs=[["ot", "ot"]]), r"identity.pairs: ot and ot are one method"),
    "one method under two names as a pair": (
        {"methods": {"a": OT, "b": {**OT, "label": "B"}}, "identity": {"pairs": [["a", "b"]]}},
        r"identity.pairs: a and b are one method",
    ),
}
NUMBERS = {
    "infinity in an option": (
        {"dataset_options": {"std": float("inf")}},
        r"dataset_options.std: inf should be a finite",
    ),
    "NaN in a list": (
        {"dataset_options": {"num_points": [float("nan"), 9, 9]}},
        r"num_points.0: nan should be a finite",
    ),
    "NaN of a sampler": (of({"options": {"eta": float("nan")}}), r"m.options.eta: nan should be a finite number"),
    "5.0 in a list of integers": (
        {"dataset_options": {"num_points": [5.0, 9, 9]}},
        r"num_points: .* is no list of integer",
    ),
    "text in a list of integers": (
        {"dataset_options": {"num_points": ["5", 9, 9]}},
        r"num_points: .* is no list of integer",
    ),
    "a boolean as a number": ({"dataset_options": {"std": True}}, r"dataset_options.std: True is no number"),
    "a boolean as an integer": ({"dataset_options": {"seed": False}}, r"dataset_options.seed: False is no integer"),
    "null as a number": (of({"options": {"eta": None}}), r"m.options.eta: None is no number"),
    "a seed beyond int64": ({"sample_seeds": [2**31]}, r"sample_seeds.0: 2147483648 should be less than 2147483648"),
    "samples that run into the next seed": (
        {"num_samples": 2**32 + 1},
        r"num_samples: .* less than or equal to 4294967296",
    ),
    "a budget that no memory holds": ({"nfe_budgets": [10**9]}, r"nfe_budgets.0: .* less than or equal to 100000"),
    "levels that no memory holds": (
        {"networks": {"exact": {"kind": "mixture", "options": {"num_levels": 10**13}}}},
        r"networks.exact.options: num_levels must be at most 100000",
    ),
    "an integer beyond floats": ({"transport": {"chi2": 10**400}}, r"transport.chi2: 1000"),
}
NAMES = {
    **{
        f"{name!r}": ({"experiment": name}, r"experiment: .* should match pattern")
        for name in ("a\nb", "a\n", "a/b", "..", ".a", "", "A", "a b", "a-b")
    },
    "an experiment that is the committed results": (
        {"experiment": "reference"},
        r"reference is a name of the project's",
    ),
    "an experiment in the folder of a smoke run": (
        {"experiment": "toy_smoke"},
        r"toy_smoke is the folder of a smoke run",
    ),
    "a name longer than files have": ({"methods": {"a" * 101: DDIM}}, r"methods.a+: .* at most 100 characters"),
    "a method named 5": ({"methods": {5: DDIM}}, r"methods.5: 5 should be a valid string"),
    "a method named true": ({"methods": {True: DDIM}}, r"methods.*: True should be a valid string"),
    "methods that differ in case": ({"methods": {"m": DDIM, "M": OT}}, r"methods.M: 'M' should match pattern"),
    "a method with a line end": ({"methods": {"m\nn": DDIM}}, r"methods.m n: .* should match pattern"),
    "a data set with a line end": ({"dataset": "a\nb"}, r'No data set "a b"'),
    "a data set that is a path": ({"dataset": "../data/digits"}, r'No data set "../data/digits"'),
    "a hidden file as data set": ({"dataset": "_idx"}, r'No data set "_idx"'),
    **{
        f"a label {label!r}": (of({"label": label}), r"m.label: .* should be one line of visible text")
        for label in ("a\x00b", "\n", " ", "", "\u200b", "\ufeff \u202e")
    },
    "a label that is a number": (of({"label": 5}), r"m.label: 5 should be a valid string"),
}
SHAPES = {
    "an image without a pixel": (
        {**IMAGES, "dataset": "folder", "dataset_options": {"size": 0}},
        r"dataset_options.size: 0 is no integer in 1",
    ),
    "attention at a level that is not there": (
        {**IMAGES, "dataset": "digits", "networks": {"e": {**EDM, "unet": {"multipliers": [1, 2], "attention": [2]}}}},
        r"networks.e.unet: attention: there is no level 2; allowed: 0 to 1",
    ),
    "attention at a level that the default U-Net lacks": (
        {**IMAGES, "networks": {"e": {**EDM, "unet": {"attention": [2]}}}},
        r"networks.e.unet: attention: there is no level 2; allowed: 0 to 1",
    ),
    "more samples than noises": (
        {"coupling": {"methods": ["m"], "nfe": 5, "num_noises": 200, "num_samples": 300}},
        r"coupling: num_samples: 300 are more than num_noises = 200",
    ),
    "patches that do not fill an image": (
        {**IMAGES, "dataset": "digits", "networks": {"e": {**EDM, "unet": {"patch": 3}}}},
        r"networks.e.unet.patch: patches of 3 pixels do not fill images of shape \(1, 8, 8\)",
    ),
}


@pytest.mark.parametrize(
    ("change", "told"),
    [pytest.param(*case, id=name) for kind in (TWICE, NUMBERS, NAMES, SHAPES) for name, case in kind.items()],
)
def test_what_cannot_be_meant_is_refused_by_the_plan(change, told):
    with pytest.raises(ConfigError, match=told) as caught:
        validate({**TOY, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", ["$x|y$", "é 数 🎉", "a & b # c", "\u00a0x", "no"])
def test_a_label_may_hold_any_visible_character(label):
    assert validate({**TOY, **of({"label": label})}).methods["m"].label == label


@pytest.mark.parametrize("label", ["two\nlines", "two \r\n lines", "two\u2028lines", "two\tlines"])
def test_a_label_of_several_lines_is_one_line(label):
    assert validate({**TOY, **of({"label": label})}).methods["m"].label == "two lines"


def test_one_method_under_two_names_is_said():
    told = validate({**TOY, "methods": {"m": DDIM, "n": {**DDIM, "label": "again"}}})
    (note,) = told.notes
    assert note.startswith("methods m and n are one method under two names") and validate(told.written()) == told


def test_an_experiment_is_not_named_by_a_file_whose_name_is_taken(tmp_path):
    for name in ("toy2d.yaml", "Toy2D.yml", "数.yaml"):
        (tmp_path / name).write_text(f"extends: {ROOT / 'config' / 'toy2d.yaml'}\nnum_samples: 300\n")
        with pytest.raises(ConfigError, match=rf"{name}: its name is no name of an experiment of its own; give it"):
            load([tmp_path / name])


def written(folder, text):
    file = folder / "mine.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


TEXT = yaml.safe_dump(TOY, allow_unicode=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            TEXT + "num_samples: 300\n",
            r"mine.yaml.* the key \"num_samples\" stands twice, in lines \d+ and 16; give it once",
        ),
        (TEXT + "transport: {chi2: 1, chi2: 2}\n", r"the key \"chi2\" stands twice, in line 16"),
        (TEXT + "'num_samples': 300\n", r"the key \"num_samples\" stands twice"),
        (TEXT + "identity: {margins: {a: 1, <<: {a: 1}, b: 1, b: 2}}\n", r"the key \"b\" stands twice"),
        (TEXT.replace("num_samples: 200", "num_samples: 0200"), r"num_samples: '0200' should be a valid integer"),
        (TEXT.replace("num_samples: 200", "num_samples: 3:20"), r"num_samples: '3:20' should be a valid integer"),
        (TEXT.replace("num_samples: 200", "num_samples: 2e2"), r"num_samples: 200.0 should be a valid integer"),
        ("a: [1\n", r"mine.yaml is not valid YAML: [^\"^]*\(line 2, column 1\)$"),
        (TEXT + "download: yes\n", r"download: 'yes' should be true or false"),
        (TEXT.replace("experiment: toy", "experiment: 2024-01-01"), r"experiment: '2024-01-01' should match"),
        (TEXT + "transport: {chi2: 1e999}\n", r"transport.chi2: inf should be a finite number"),
        (TEXT.encode("utf-16-le"), r"mine.yaml is not valid YAML: .*special characters"),
        (b"# caf\xe9\n" + TEXT.encode(), r"mine.yaml is not valid YAML: .*x00e9"),
        (b"\x89PNG\r\n", r"mine.yaml is not valid YAML"),
        ("", r"mine.yaml must hold a mapping of keys to values, found nothing"),
        ("# nothing\n", r"mine.yaml must hold a mapping of keys to values, found nothing"),
        ("a: 1\n---\nb: 2\n", r"mine.yaml is not valid YAML: expected a single document"),
        ("a:\n\tb: 1\n", r"mine.yaml is not valid YAML: .*cannot start any token"),
        ("a: " + 1000 * "[", r"mine.yaml is not valid YAML: it is nested too deep"),
        (TEXT + "dataset_options: &a {std: *a}\n", r"a part of it holds itself"),
        (TEXT + "data_root: !!timestamp now\n", r"mine.yaml is not valid YAML"),
        (f"a: {5000 * '9'}\n", r"mine.yaml is not valid YAML: .*4300 digits"),
    ],
)
def test_a_file_that_does_not_say_what_it_means_is_refused_by_name(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load([written(tmp_path, text)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("chi2: 0.01", "chi2: 1e-2"),
    ],
)
def test_encodings_and_line_ends_change_nothing(tmp_path, text):
    assert load([written(tmp_path, text)]) == validate(TOY)


def test_anchors_and_merge_keys_go_on_working(tmp_path):
    methods = (
        "methods: {m: &m {network: exact, sampler: ddim}, n: &n {<<: *m, sampler: edm}, o: {<<: [*n, *m], label: O}}"
    )
    text = yaml.safe_dump({key: value for key, value in TOY.items() if key != "methods"}) + methods
    found = load([written(tmp_path, text)]).methods
    assert [method.sampler for method in found.values()] == ["ddim", "edm", "edm"] and found["o"].label == "O"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("/data/set #2", "/data/set #2"),
        ("#2", "#2"),
        ("'/data/set #2'", "/data/set #2"),
        ("/a=b", "/a=b"),
        ("/my data/x", "/my data/x"),
        ("1e-4", 1e-4),
        ("no", "no"),
        ("[5, 'a # b']", [5, "a # b"]),
        ("", None),
    ],
)
def test_a_value_of_the_command_line_is_read_whole(given, read):
    assert typed({"key": given})["key"] == read
    if isinstance(read, str):
        file = ROOT / "config" / "toy2d.yaml"
        assert load([file], [f"data_root={given}"]).data_root == read == load([file], {"data_root": read}).data_root


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["nfe_budgets=[5, 10] # best"], r"--config nfe_budgets: '\[5, 10\] # best' would be cut at #"),
        (["num_samples=300", "num_samples=400"], r'--config gives "num_samples" twice'),
        (["data_root=/a: b"], r"data_root: \{'/a': 'b'\} should be a valid string"),
        (["data_root=*x"], r"--config data_root: found undefined alias"),
        (["num_samples=5 # five"], r"num_samples: '5 # five' should be a valid integer"),
        (["num_samples=300", "set"], r'--config takes key=value, got "set"'),
        (["experiment=a\nb"], r"experiment: 'a b' should match"),
    ],
)
def test_odd_words_of_the_command_line_are_one_line(tmp_path, capsys, overrides, told):
    assert cli.main(["plan", "--configfile", str(written(tmp_path, TEXT)), "--config", *overrides]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    with pytest.raises(ConfigError, match=told):
        load([written(tmp_path, TEXT)], overrides)


def test_weights_that_the_experiment_itself_writes_are_refused(tmp_path, capsys):
    own = tmp_path / "mine" / "networks" / "edm.safetensors"
    own.parent.mkdir(parents=True)
    shutil.copy(ROOT / "results" / "reference" / "digits" / "weights" / "edm.safetensors", own)
    overrides = ["experiment=mine", f"networks={{edm: {{weights: {own}, sha256: null}}}}"]
    given = ["--configfile", str(ROOT / "config" / "gate.yaml"), "--results", str(tmp_path), "--config", *overrides]
    assert cli.main(["plan", *given]) == 1
    assert "train_edm would read and write" in capsys.readouterr().err


def test_options_of_a_plug_in_are_checked_as_far_as_its_signature_goes():
    def sample(x, *, plain=1, text: "float" = 1.0, foreign: "Denoiser | None" = None, array: np.ndarray = None): ...  # noqa: F821

    def check(**options):
        refusals.check_options(sample, options, "options", skip=("x",))

    check(plain="anything", text=2, foreign=3, array=[1])
    with pytest.raises(ConfigError, match=r"options.text: '2' is no"):
        check(text="2")


def bomb(first, one):
    levels = (f"a{k}: &a{k} {one.format(', '.join([f'*a{k - 1}'] * 10))}\n" for k in range(1, 9))
    return f"a0: &a0 {first}\n" + "".join(levels)


@pytest.mark.parametrize(
    "text",
    [
        bomb("[x, x]", "[{}]"),
        bomb("{x: 1}", "{{<<: [{}]}}"),
        f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 200)}]\n",
    ],
    ids=["lists", "merge keys", "texts"],
)
def test_aliases_that_stand_for_very_much_are_refused_at_once(tmp_path, text):
    with pytest.raises(ConfigError, match="its aliases stand for more than 1000000 letters and entries") as caught:
        load([written(tmp_path, text)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Sequence[float], list[float], tuple[float, ...]])
def test_learned_coefficients_are_an_option_whatever_list_the_sampler_names(kind):
    def sample(*, coefficients=()): ...

    sample.__annotations__["coefficients"] = kind
    refusals.check_options(sample, {"coefficients": [1, 2.5]}, "options", skip=())
    with pytest.raises(ConfigError, match=r"options.coefficients: \[1, 'a'\] is no list of number"):
        refusals.check_options(sample, {"coefficients": [1, "a"]}, "options", skip=())


def test_a_long_document_without_aliases_is_none_of_them():
    read = yaml_text.read(f"text: {'x' * 1_200_000}\nseeds: {list(range(5000))}", "here")
    assert len(read["text"]) == 1_200_000 and read["seeds"][-1] == 4999


@pytest.mark.parametrize("key", ["experiment", "dataset"])
@pytest.mark.parametrize("end", ["\n", "\r", "\0", "\x85", "\u2028"])
def test_a_name_with_a_line_end_or_control_character_is_refused(key, end):
    with pytest.raises(ConfigError):
        validate({**TOY, key: TOY[key] + end})
