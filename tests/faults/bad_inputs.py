"""Bad input from the command line: what is given, and the line that answers it.

``CONFIGURATIONS``: overrides of config/smoke.yaml. ``COMMANDS``: arguments of ``dpmot``; {folder} holds ``FILES``,
{prepared} is a results folder with the smoke experiment's data, {smoke} its configuration.
"""

import re

from dpmot.results import METRICS

CONFIGURATIONS = {
    "unknown sampler": (
        "methods={x: {network: edm, sampler: dimm}}",
        r'No sampler "dimm" in baselines/: did you mean .*found .*ddim',
    ),
    "unknown network": ("methods={x: {network: vdm, sampler: ddim}}", r'no network "vdm".*found ddpm, edm'),
    "unknown start": (
        "methods={x: {network: edm, start: ot, sampler: ddim}}",
        r'No start "ot" in dpmot/starts/: found',
    ),
    "NFE 0": ("nfe_budgets=[0]", r"nfe_budgets.0"),
    "typo in a key": ("nfe_budget=[5]", r'unknown key "nfe_budget"; did you mean "nfe_budgets"'),
    "typo in an option": (
        "methods={x: {network: edm, sampler: ddim, options: {etta: 1}}}",
        r'unknown option "etta"; allowed: eta',
    ),
    "sigma_M above sigma_max": (
        "methods={x: {network: edm, start: transport, sampler: ddim, level: 100}}",
        r"sigma_M = 100 lies outside the levels of network edm, \[0.002, 80\]",
    ),
    "missing weights": ("networks={edm: {weights: nowhere.safetensors}}", r"networks.edm.weights: no file nowhere"),
    "unknown data set": ("dataset=imagenet", r'No data set "imagenet" in dpmot/data/: found'),
    "unknown figure": ("figures=[figure_99]", r'no "figure_99" in paper_figures/: .*found figure_1'),
    "unattainable": (
        "methods={x: {network: student, sampler: ddim, nfe_budgets: [2]}}",
        r"student was distilled for 5, 10",
    ),
    "missing Inception weights": ("inception_weights=nowhere.pth", r"inception_weights: no file nowhere.pth"),
    "identity of an unknown metric": (
        "identity={pairs: [[identity_ot, identity_copy]], margins: {fd_clasifier: 1, ffd_x: 1}}",
        r'identity: no metric "ffd_x"',
    ),
    "identity of unequal cells": ("identity={pairs: [[ddpm, identity_copy]]}", r"must have the same seeds"),
    "selection that no budget meets": (
        "selection={network: student, sampler: ddim, nfe: 2, sigmas: [1]}",
        r"selection: .*distilled for 5, 10 steps",
    ),
    "atoms of a prior start": (
        "methods={x: {network: edm, sampler: ddim, targets: as_code}}",
        r"a prior start has no atoms",
    ),
    "singular set of a prior start": (
        "methods={x: {network: edm, sampler: ddim, singular: discard}}",
        r"methods.x.singular: only for start transport, not for prior",
    ),
    "smoothing without its width": (
        "methods={x: {network: edm, start: transport, sampler: ddim, singular: smooth}}",
        r"methods.x.tau: singular smooth needs it: the width",
    ),
    "angle that nothing looks at": (
        "methods={x: {network: edm, start: transport, sampler: ddim, angle: 1.2}}",
        r"methods.x.angle: singular plain takes none; only discard, treat, as_code do",
    ),
    "angle that is no share": (
        "methods={x: {network: edm, start: transport, sampler: ddim, singular: as_code, angle: 1.2}}",
        r"methods.x.angle: 1.2 is no share of the range of angles",
    ),
    "treatment that does not exist": (
        "methods={x: {network: edm, start: transport, sampler: ddim, singular: drop}}",
        r"methods.x.singular: 'drop' is not one of .*; allowed: plain, discard, treat, as_code, smooth",
    ),
    "coupling of an unknown method": (
        "coupling={methods: [ot], nfe: 5}",
        r'coupling.methods: no method "ot" under methods',
    ),
    "coupling at many levels": (
        "coupling={methods: [sweep], nfe: 5}",
        r"coupling.methods: sweep must have a sampler and one",
    ),
    "coupling that no budget meets": (
        "coupling={methods: [student], nfe: 2}",
        r"coupling.methods: student: NFE 2: .*distilled for 5, 10 steps",
    ),
    "coupling of uniform noise": (
        "coupling={methods: [dpm_ot_as_code], nfe: 5}",
        r"coupling.methods: dpm_ot_as_code must start from normal noise",
    ),
    "option that is no number": ("networks={edm: {options: {sigma_data: abc}}}", r"sigma_data: 'abc' is no number"),
    "too few samples": ("num_samples=19", r"num_samples: 19 should be greater than or equal to 20"),
    "selection seed reported": (
        "selection={network: edm, sampler: ddim, nfe: 10, sigmas: [1], sample_seed: 0}",
        r"selection.sample_seed: 0 is also a reported seed",
    ),
}

MEASURED = ",".join(METRICS.columns) + "\n"
FILES = {
    "broken.yaml": b"methods: [unclosed\n",
    "list.yaml": b"- a list\n",
    "empty.csv": MEASURED.encode(),
    "noise.csv": bytes(range(256)),
    "pickle.safetensors": b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.",
    "cut.safetensors": b'\x10\x27\x00\x00\x00\x00\x00\x00{"a":',
}
COMMANDS = {
    "no such configuration": ("plan --configfile nowhere.yaml", r"Cannot read the configuration nowhere.yaml"),
    "a configuration that is no YAML": ("plan --configfile {folder}/broken.yaml", r"broken.yaml is not valid YAML"),
    "a configuration that is a list": ("plan --configfile {folder}/list.yaml", r"must hold a mapping .* found list"),
    "an override without a value": (
        "plan --configfile {smoke} --config num_samples",
        r'--config takes key=value, got "num_samples"',
    ),
    "an override that is no YAML": ("plan --configfile {smoke} --config methods={{x", r"--config methods: "),
    "no such method": ("sample dimm --configfile {smoke}", r'No method "dimm" in this experiment: .*found ddpm'),
    "no such network": ("train vdm --configfile {smoke}", r'No network "vdm" in this experiment: .*found ddpm, edm'),
    "missing data": ("prepare --configfile {smoke} --config dataset=fashion_mnist", r"data root|DPMOT_DATA"),
    "data root without the files": (
        "prepare --configfile {smoke} --config dataset=fashion_mnist data_root={folder}",
        r"fashion-mnist: train-images",
    ),
    "a stage before its inputs": ("sample edm --configfile {smoke} --results {folder}/r", r"data.safetensors"),
    "weights that are a pickle": (
        "train edm --configfile {smoke} --results {prepared} "
        "--config experiment=smoke networks={{edm:{{kind:\u00a0edm,weights:\u00a0{folder}/pickle.safetensors}}}}",
        r"pickle.safetensors",
    ),
    "weights that end too early": (
        "train edm --configfile {smoke} --results {prepared} "
        "--config experiment=smoke networks={{edm:{{kind:\u00a0edm,weights:\u00a0{folder}/cut.safetensors}}}}",
        r"cut.safetensors",
    ),
    "a gate without a reference": ("gate {folder}/empty.csv {folder}/nowhere", r"no rows"),
    "a gate for noise": ("gate {folder}/noise.csv {folder}/noise.csv", r"noise.csv"),
    "an update without a reason": ("gate {folder} {folder} --update", r'--reason "why'),
}


def pairs(overrides: str) -> list[str]:
    """Overrides as words: key=value, where values hold spaces."""
    return re.split(r" (?=\w+=)", overrides)
