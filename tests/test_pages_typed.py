"""Numbers that a template of docs/ states itself are settings, with their reasons; results come from the files."""

import json
import re
from collections import Counter

import pytest

from dpmot.plugins import ROOT

TEMPLATES = ROOT / "docs" / "templates"
TYPED = {  # numbers that no csv has, by template: how often, and why: settings of an experiment, data sets, tolerances
    "README.md": {
        "3.11": (1, "Python"),
        "3.13": (1, "Python"),
        "30": (1, "K of a method"),
        "100": (1, "K of a method"),
        "10": (1, "percent of training of a method"),
    },
    "bring-your-own.md": {
        "15": (1, "lines of an example at most"),
        "50,000": (1, "training images of the data set"),
    },
    "gate.md": {
        ".01": (1, "least change of a share that matters"),
        ".005": (1, "level of the gate"),
        ".2": (1, "eta of a planted bug"),
        "2": (2, "percent: least change of a distance that matters, duplicates of a planted bug"),
        "1000": (1, "samples of the configuration"),
    },
    "metrics.md": {
        ".01": (1, "tolerance of the audit"),
        "0": (2, "no distance, no noise"),
        "1": (2, "formula, and the end of a scale"),
        "2": (1, "processor cores"),
        "3": (2, "k of precision and recall, degrees of freedom"),
        "5": (3, "k of density and coverage, budgets, level M/5"),
        "10": (3, "nearest images that are asked, last steps of another code"),
        "20": (1, "groups of the jackknife"),
        "25": (1, "kurtosis that is warned of"),
        "50": (1, "budgets"),
        "400": (1, "simulated tables of the benchmark"),
        "1000": (2, "steps of another code"),
        "2,000": (1, "simulated tables of the benchmark"),
        "2048": (1, "numbers of a row of the benchmark"),
        "10,000": (2, "rows of the benchmark"),
        "40,000": (1, "samples of a protocol"),
        "50,000": (2, "samples of protocols"),
    },
    "results/cifar10_audit.md": {
        ".1": (1, "threshold of the MMR"),
        "111": (1, "JPEG copies in the data set"),
        "86": (1, "JPEG copies in the data set"),
        "25": (1, "JPEG copies in the data set"),
        "60,000": (1, "images of the data set"),
        "5,000": (1, "training images of the configuration"),
        "3,072": (1, "pixels"),
        "18,432": (1, "six times the pixels"),
        "10,000": (2, "test images of the data set, samples of a command"),
    },
    "results/coupling.md": {
        ".01": (1, "chi2 of a method"),
        ".1": (1, "chi2 of a method"),
        "0": (5, "heights of a method"),
        "1": (4, "chi2 and tau of methods"),
        "10": (1, "the claim"),
        "150": (3, "training images of the configuration"),
        "300": (1, "steps of a method"),
        "720": (1, "steps of a method"),
        "128": (1, "batch of the configuration"),
        "10,000": (2, "training images of the configurations"),
        "512,000": (1, "images seen by a network of the configuration"),
    },
    "results/digits.md": {
        "3.3": (1, "sigma of EDM's chain"),
        ".01": (1, "tolerance of the audit"),
        "1": (1, "chance, 1/N"),
        "1,000": (1, "samples of a search, as asked for"),
        "4,000": (1, "samples of a search, as asked for"),
    },
    "results/fashion_mnist.md": {
        "3.3": (1, "sigma of EDM's chain"),
        ".1": (1, "threshold of the MMR"),
        "18": (1, "steps of EDM's chain"),
        "10,000": (4, "atoms of the configuration, images of split B"),
        "50,000": (1, "images of split A"),
        "60,000": (2, "images of the data set"),
        "128,000": (1, "images seen by a network of the configuration"),
        "1,024,000": (1, "images seen by a network of the configuration"),
        "425,316": (1, "parameters of the network"),
    },
    "results/index.md": {
        "10,000": (1, "atoms of the configuration"),
        "50,000": (1, "atoms of the configuration"),
    },
    "results/mixture.md": {
        "1.5": (4, "guidance of a method"),
        "3": (1, "guidance of a method"),
        "4": (1, "evaluations of two steps of Heun"),
        "10": (1, "K of a method"),
        "400": (1, "steps of a network of the configuration"),
        "1,500": (1, "steps of a network of the configuration"),
        **dict.fromkeys(("64,000", "128,000", "256,000", "512,000"), (1, "images seen by a network")),
    },
    "results/singular.md": {
        ".1": (3, "angle of a method, threshold of the MMR, move of the noise"),
        ".05": (1, "angle of a method"),
        "1.1": (2, "angle of a method"),
        "2.5": (2, "tau of a method"),
        "16": (1, "noises an image of a method"),
        "25": (2, "Gaussians of the data set"),
    },
    "tables.md": {
        ".01": (2, "tolerance of the audit"),
        ".05": (1, "nominal level"),
        ".5": (1, "largest share that is told"),
        ".95": (1, "threshold of smooth"),
        "0": (1, "no difference"),
        "2.3": (1, "quantile of Student's t"),
        "4.3": (1, "quantile of Student's t"),
        "12.7": (1, "quantile of Student's t"),
        "3.7": (1, "binomial interval of no image among n"),
        "370": (1, "3.7 / .01"),
        "5": (2, "columns and standard errors of a simulation"),
        "7": (1, "methods of a simulation"),
        "15": (2, "methods of a simulation"),
        "16": (1, "pixels below which images are moved by one"),
        "20": (1, "groups of the jackknife"),
        "30": (1, "images of a split that are too few"),
        "40": (2, "samples that are too few"),
        "599": (1, "training images of the data set"),
        "100,000": (1, "between the sample seeds of trainings"),
        "1979": (1, "year of a paper"),
        "1984": (1, "year of a paper"),
    },
    "theory.md": {
        ".01": (1, "tolerance of the audit"),
        "0": (13, "no difference, the ends of a scale, seeds"),
        "1": (6, "formulas, and the end of a scale"),
        "2": (4, "formulas"),
        "3": (1, "rule of three"),
        "10": (1, "distance of a law's means"),
        "25": (1, "Gaussians of the data set"),
        "95": (1, "level of the intervals"),
        "500": (1, "images that the prediction takes at most"),
        "10,000": (2, "images that the prediction takes at most, images of a data set"),
    },
    "transport.md": {
        ".01": (1, "chi2 that is asked for"),
        ".9": (13, "abar of a case"),
        ".99": (3, "abar of a case"),
        ".1": (2, "abar of a case"),
        ".5": (3, "abar of a case"),
        ".05": (2, "chi2 that is asked for"),
        ".0139": (1, "sigma of the authors' schedule"),
        "0": (1, "heights at first"),
        "1": (2, "abar of a case, time of the exact search"),
        "2": (2, "processor cores"),
        "64": (2, "noises that are mapped, dimensions of a case"),
        "86": (2, "JPEG copies in the data set"),
        "2000": (1, "atoms that the method in space takes at most"),
        "10,000": (4, "atoms of a case"),
        "50,000": (3, "atoms of a case"),
        "60,000": (1, "atoms of a case"),
        "70,000": (1, "images on disk"),
    },
}
BY_HAND = {  # the same of pages that have no template: decimal numbers, and what a unit follows
    "api.md": {
        "0.02": (1, "last beta of a DDPM"),
        "0.03": (1, "least level that the paper publishes"),
        "0.2": (1, "greatest level that the paper publishes"),
    },
    "data.md": {"3.0": (1, "of a licence"), "4.0": (1, "of a licence")},
    "extending.md": {"128 KiB": (1, "what the files of a sampler may hold")},
    "glossary.md": {"0.1": (1, "threshold of a mixed sample")},
    "paper.md": {"5 minutes": (1, "between checkpoints")},
    "reproducing.md": {".66": (1, "how a share is typed"), "66 %": (1, "how it is not")},
    "resuming.md": {"20 seconds": (1, "between checkpoints"), "5 minutes": (1, "between checkpoints")},
    "running.md": {
        "3.11": (1, "Python"),
        "3.13": (1, "Python"),
        "2 MB": (2, "what a report may hold"),
    },
}
MADE = {"configuration.md"}  # by docs/options.py
UNITS = r"(?<![\w.,])(?!95 %)\d[\d.,]*\s(?:%|m?s|min|h|seconds?|minutes?|hours?|[KMGT]i?B|times)(?!\w)"
FILL = "fill numbers in from results/reference/ (docs/fill.py), or list a setting in TYPED with its reason"


def typed(template):
    """How often a template states which decimal number itself."""
    return Counter(number for part in printed(template) for number in re.findall(r"(?<![\w.])\d*\.\d+(?!\w)", part))


def printed(template):
    """What a template prints that is its own: prose, tables, and the words of a loop."""
    text = re.sub(r"^```.*?^```", "", template, flags=re.S | re.M)
    code = re.findall(r"\{[{%].*?[%}]\}", text, re.S)
    words = [word for one in code for word in re.findall(r'"([^"]*)"', one) if " " in word]
    text = re.sub(r"\{[{%].*?[%}]\}", " ", text, flags=re.S)
    text = re.sub(r"arXiv:\S+|\]\([^)]*\)|`[^`]*`", " ", text)
    patterns = r"\(\.\*|\\|\{:|%[\d.]*[dfgs]"  # and formats
    return [text, *(word for word in words if not re.search(patterns, word))]


def test_a_number_in_a_template_comes_from_a_file_or_is_a_setting_with_its_reason():
    for path in TEMPLATES.rglob("*.md"):
        name = path.relative_to(TEMPLATES).as_posix()
        if name == "scaling.md":  # what was seen on a cluster, by hand: no file has it
            continue
        text, known = path.read_text(encoding="utf-8"), budgets()
        stated = {number: times for number, (times, _) in TYPED.get(name, {}).items()}
        assert typed(text) + typed_integers(text, known) == stated, f"docs/templates/{name}: {FILL}"


def test_a_page_without_a_template_states_no_result():
    for path in (ROOT / "docs").glob("*.md"):
        if path.name in MADE or (TEMPLATES / path.name).is_file():
            continue
        text = path.read_text(encoding="utf-8")
        found = typed(text) + Counter(" ".join(one.split()) for one in re.findall(UNITS, text))
        stated = {number: times for number, (times, _) in BY_HAND.get(path.name, {}).items()}
        assert found == stated, f"docs/{path.name}: {FILL.replace('TYPED', 'BY_HAND')}"


LIST = r"\d+(?:(?:, | and | to )\d+)*"
NAMES = (  # where an integer is no result
    r"\b(?:Table|Figure) \d+",
    r"\b[A-Za-z]+-\d+\b",  # CIFAR-10, iPNDM-4
    r"(?:ICCV |\()20\d\d\b",
    r"\b95 % interval",
    r"\[-?\d, \d\]",  # range of pixels
    r"\b\d+ % more\b|\b\d(?:[\d,]*\d)? steps more\b",  # of training, as the configurations name their rows
    r"\bsigma \d(?:[\d,]*\d)?(?: and \d+)?",
    r"\b\d+ x \d+\b",  # of a grid, or of an image's pixels
    r"\b[Ii]n \d+(?: and \d+)? dimensions|more than in \d\b",
    r"\b[Kd] = \d(?:[\d,]*\d)?(?: to \d+)?",
    r"\^\d|_\{.*?\}",  # formulas
)
NFE = (
    rf"\bNFE {LIST}|\b{LIST} (?:NFE|evaluations|steps)\b|\b(?:[Aa]t|up to) {LIST}(?!,?\d| %|-| \w+ing\b)"
    r"|\b[Ff]rom \d+(?= on\b|[.,] )"
)


def budgets():
    """The numbers of evaluations that committed experiments were run at."""
    found = {"0"}
    for path in (ROOT / "results" / "reference").glob("*/experiment.json"):
        given = json.loads(path.read_text(encoding="utf-8"))
        every = [given["nfe_budgets"], *(one.get("nfe_budgets") or () for one in given["methods"].values())]
        found |= {str(nfe) for some in every for nfe in some}
    return found


def typed_integers(template, known):
    """How often it states which integer itself that is no name, and no budget (``known``) where one is meant."""
    found = Counter()
    for part in printed(template):
        part = " ".join(re.sub("^    .*", "", part, flags=re.M).split())  # without indented formulas
        for pattern in NAMES:
            part = re.sub(pattern, " ", part)
        part = re.sub(NFE, lambda match: " ".join(set(re.findall(r"\d+", match[0])) - known), part)
        found.update(re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?!\w|\.\d)", part))
    return found


def test_a_number_with_its_unit_is_found_in_a_block_of_code_too():
    text = "```\nmake test  # 11 min, 241\nMiB, 1,916.5 s\n```\n95 % intervals, 3 samples, 12 x 4 sums"
    assert re.findall(UNITS, text) == ["11 min", "241\nMiB", "1,916.5 s"]


@pytest.mark.parametrize(
    ("template", "numbers"),
    [
        ("FD is .32 s, 0.5 and 17.1 at 50.", {".32", "0.5", "17.1"}),
        ("| DDIM | 3.14 [2.71, 3.9] |", {"3.14", "2.71", "3.9"}),
        ('{% for name in ["a", "b", "at 10 % more 1.5", "mmr_0.1"] %}{{ name }}{% endfor %}', {"1.5"}),
        ('{{ run("digits").cell("ddim", 5, "mmr_0.1", sigma=0.5) }} (arXiv:2307.11308) [x](y/1.2.md) `0.7`', set()),
        ("```\nchi2=0.01\n```\nof 10,000, 95 % and Fig. 3.", set()),
    ],
)
def test_typed_decimals_are_found_where_they_are_printed(template, numbers):
    assert set(typed(template)) == numbers
    assert typed(2 * template) == {number: 2 for number in numbers}


@pytest.mark.parametrize(
    ("template", "numbers"),
    [
        ("FD falls from 20 to 13 at NFE 5, 10 and at 50 evaluations", {"20", "13"}),
        ("falls from 50 to 10, at 10 % and from 7 on", {"50", "10", "7"}),
        ("DDIM at 7 has 12, at NFE 11 more", {"7", "12", "11"}),
        ("CIFAR-10 (2023, Table 5), iPNDM-4, sigma 80, K = 1,000, 10 % more: 310 [95 % interval] 17 %", {"310", "17"}),
        ('{% for name in ["300 steps more, semi-discrete", "all 42 of them", "x_7"] %}{{ name }}{% endfor %}', {"42"}),
        ('{{ run("digits").n("ddim", 5) }} (arXiv:2307.11308) [x](y/1.md) `7`, 1.5', set()),
    ],
)
def test_typed_integers_are_found_where_they_are_no_names(template, numbers):
    assert set(typed_integers(template, {"5", "10", "50"})) == numbers
