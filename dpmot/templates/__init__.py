"""``dpmot new KIND NAME``: a file of your own, a small working one, which keeps its folder's contract at once.

The templates beside this file are ordinary code, checked and tested as all other code is; ``template_name`` in them
becomes the name. docs/extending.md explains each kind.
"""

import keyword
import re
from pathlib import Path

from dpmot import plugins
from dpmot.experiment.plan import Experiment

FOLDER_OF = {  # what a user calls it -> kind of plug-in
    "sampler": "baselines",
    "network": "networks",
    "dataset": "data",
    "metric": "metrics",
    "feature": "features",
    "start": "starts",
}
KINDS = tuple(FOLDER_OF)
PLACE = "template_name"
USE = {
    "sampler": "methods: {{mine: {{network: ddpm, sampler: {name}}}}}",
    "network": "networks: {{mine: {{kind: {name}, training: {{steps: 1500}}}}}}",
    "dataset": "dataset: {name}",
    "metric": "nothing to say: every metric is measured",
    "feature": "features: [classifier, {name}]",
    "start": "methods: {{mine: {{network: ddpm, start: {name}, sampler: ddim, level: 1}}}}",
}


def new(kind: str, name: str) -> str:
    """Write the file and say what to do next.

    Args:
        kind: one of ``KINDS``.
        name: of the file and in configurations.

    Raises:
        ValueError: a name that cannot be one, or that is taken; no file is touched.
    """
    plugin = FOLDER_OF[kind]
    noun, folder = plugins.FOLDERS[plugin]
    _check(plugin, noun, name)
    path = folder / f"{name}.py"
    text = Path(__file__).with_name(f"{kind}.py").read_text(encoding="utf-8").replace(PLACE, name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ValueError(f"{path} exists already: give another name, or move it away") from None
    where, told = path.relative_to(plugins.ROOT), plugins.first_line(plugin, name)
    return "\n".join(
        [
            f"{where}: a working {noun} to start from ({told})",
            "1. put your own in its place; its docstrings and docs/extending.md say what it owes",
            f"2. check it:        pytest tests/contracts -k {name}",
            f"3. configure it:    {USE[kind].format(name=name)}",
            *([f"4. examine it:      dpmot doctor {name} --configfile ..."] if kind == "network" else []),
        ]
    )


def _check(plugin: str, noun: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name.endswith("_") or keyword.iskeyword(name):
        allowed = "lower-case letters, digits and underscores, a letter first, and no word of Python's own"
        raise ValueError(f'"{name}" cannot be the name of a {noun}: {allowed}, e.g. my_{noun.split()[0]}')
    if len(name) > 40:
        raise ValueError(f'"{name[:20]}..." has {len(name)} letters; a name has at most 40')
    if name in plugins.names(plugin):
        raise ValueError(f"A {noun} {name} exists already: {plugins.path(plugin, name).relative_to(plugins.ROOT)}")
    if (plugin, name) == ("baselines", "none") or (plugin == "features" and name in Experiment.model_fields):
        raise ValueError(f'"{name}" is a word of configurations and cannot be a {noun}: give another name')
