"""Samplers that cheat are refused when their contract is tested and when they run, even where no one reads the file."""

import sys
from functools import partial

import pytest
import test_every_sampler as contract
import torch

from dpmot import plugins
from dpmot.diffusion import metering, permitted
from dpmot.diffusion.metering import Uncounted
from dpmot.diffusion.network import Network
from dpmot.diffusion.permitted import NotPermitted
from dpmot.diffusion.sigmas import edm_chain
from dpmot.experiment.cells import Cell
from dpmot.experiment.jobs import Sample
from dpmot.experiment.plan import Method
from dpmot.experiment.stages._prepared import Part
from dpmot.experiment.stages.sample import LoadedMethod, OverBudget

pytestmark = pytest.mark.usefixtures("one_thread")
HEAD = '''"""Euler's method, and what it would like to have for nothing."""

from dpmot.diffusion.sigmas import intervals, one_a_step

{imports}
GRID = "karras"
{constants}
num_steps = one_a_step("The cheat")


def sample(denoiser, x, sigmas, *, noise=None, callback=None):
    """Cheats."""
{first}
    for i, sigma, to in intervals(sigmas):
        denoised = {answer}
        x = denoised + to / sigma * (x - denoised)
    return {last}
'''
NETWORK = "next(o for o in gc.get_objects() if type(o).__name__ == 'NetworkDenoiser')"
ANSWER = "denoiser(x, sigma)"
MORE = "[f(x, sigma) for _ in range(8)][0]"


def cheat(first="pass", answer=ANSWER, *, imports="", constants="", last="x"):
    """The source of a sampler that does this before its loop, and that for every answer."""
    lines = "\n".join(f"    {line}" for line in first.splitlines())
    return HEAD.format(first=lines, answer=answer, imports=imports, constants=constants, last=last)


def fault(body, **rest):
    """A sampler that provokes an error, and goes on with what it finds in it."""
    return cheat(f"try:\n    denoiser(x[:0], sigmas[0])\nexcept ValueError as error:\n    {body}", **rest)


# What a cheat does, and with what its file is refused; None: nothing in its file looks like one.
CHEATS = {
    "takes the network by its name": (cheat("f = denoiser.denoiser", MORE), None),
    "sets the count back": (cheat(answer=f"[{ANSWER} for _ in range(8)][0]; denoiser.nfe = 0"), None),
    "takes the network out of the closure": (cheat("f = denoiser.__closure__[0].cell_contents", MORE), "__closure__"),
    "takes what the function wraps": (cheat("f = denoiser.__wrapped__", MORE), "__wrapped__"),
    "takes what the method is bound to": (cheat("f = denoiser.__self__.denoiser", MORE), "__self__"),
    "takes the globals": (cheat("f = denoiser.__globals__['D']", MORE), "__globals__"),
    "pickles the network": (cheat("f = pickle.loads(pickle.dumps(denoiser))", MORE, imports="import pickle"), "pickle"),
    "copies the denoiser": (cheat("f = copy.deepcopy(denoiser)", MORE, imports="import copy"), None),
    "keeps a row for forty": (cheat(answer="denoiser(x.repeat(40, 1, 1, 1), sigma)[: len(x)]"), None),
    "makes one tall image of its rows": (cheat(answer="denoiser(x.repeat(1, 1, 9, 1), sigma)[:, :, :4]"), None),
    "evaluates half of its rows": (cheat(answer="denoiser(x[: len(x) // 2], sigma).repeat(2, 1, 1, 1)"), None),
    "gives a sigma too many": (cheat(answer="denoiser(x, sigmas[:2])"), None),
    "calls itself parallel and pays for nothing": (
        cheat(answer="denoiser(x.repeat(9, 1, 1, 1), sigma)[: len(x)]", constants="PARALLEL = True"),
        None,
    ),
    "goes on after it was refused": (fault("pass"), None),
    "finds the network in an error's frames": (
        fault("f = error.__traceback__.tb_next.tb_frame.f_locals['self'].denoiser.denoiser", answer=MORE),
        "__traceback__",
    ),
    "finds the network in its callers": (
        cheat(
            "frame = sys._getframe()\nwhile 'denoiser' not in frame.f_back.f_locals:\n    frame = frame.f_back\n"
            "f = frame.f_back.f_locals['denoiser'].denoiser",
            MORE,
            imports="import sys",
        ),
        "sys",
    ),
    "finds the network in memory": (cheat(f"f = {NETWORK}", MORE, imports="import gc"), "gc"),
    "calls the network's own module": (cheat(f"f = {NETWORK}.model", MORE, imports="import gc"), "gc"),
    "copies the network's module": (
        cheat(f"f = copy.deepcopy({NETWORK}.model)", MORE, imports="import copy, gc"),
        "gc",
    ),
    "calls forward": (
        cheat(
            f"f = {NETWORK}.model.forward", "f(x.float(), sigma.float().expand(len(x))).double()", imports="import gc"
        ),
        "gc",
    ),
    "brings a network": (
        cheat("f = nn.Conv2d(1, 1, 1)", "f(x.float()).double()", imports="from torch import nn"),
        "from torch import nn",
    ),
    "loads a network": (
        cheat("f = network.load('edm.safetensors')", imports="from dpmot.diffusion import network"),
        "from dpmot.diffusion import network",
    ),
    "imports by another name": (cheat("__import__('gc')"), "__import__"),
    "looks an attribute up by a made name": (cheat("getattr(denoiser, '__self' + '__')"), "getattr"),
    "reads a file": (cheat("open('samples.safetensors')"), "open"),
    "loads data": (cheat("numpy.load('images.npy')", imports="import numpy"), "load"),
    "asks in a thread": (
        cheat(
            "def f(x, sigma):\n    with futures.ThreadPoolExecutor(1) as pool:\n"
            "        return pool.submit(denoiser, x, sigma).result()",
            "f(x, sigma)",
            imports="from concurrent import futures",
        ),
        "concurrent",
    ),
    "lets the network run in a thread": (
        cheat(
            f"f = {NETWORK}\nwork = threading.Thread(target=f, args=(x, sigmas[0]))\nwork.start()\nwork.join()",
            imports="import gc, threading",
        ),
        "gc",
    ),
    "hides in a tensor": (
        cheat(answer="denoiser(x.as_subclass(Spy), sigma)", imports="from torch import Tensor\nclass Spy(Tensor): ..."),
        None,
    ),
    "hides in a mode": (
        cheat(
            "def f(x, sigma):\n    with overrides.TorchFunctionMode():\n        return denoiser(x, sigma)",
            "f(x, sigma)",
            imports="from torch import overrides",
        ),
        "overrides",
    ),
    "hooks itself into every layer": (
        cheat("module.register_module_forward_hook(print)", imports="from torch.nn.modules import module"),
        "torch.nn.modules",
    ),
    "changes the harness": (
        cheat("metering.Meter.settle = print", imports="from dpmot.diffusion import metering"),
        "metering",
    ),
    "changes what it imports": (cheat("torch.kept = x", imports="import torch"), "torch.kept"),
    "keeps a global": (cheat("global KEPT\nKEPT = x"), "KEPT"),
    "keeps what it drew before": (
        cheat(
            "key = float(x.sum())\nif key in KEPT:\n    return KEPT[key]",
            constants="KEPT = {}",
            last="KEPT.setdefault(key, x)",
        ),
        None,
    ),
    "calls another sampler": (cheat(imports="from baselines import edm"), "edm"),
    "differentiates the network": (
        cheat(
            "def f(x, sigma):\n    x = x.clone().requires_grad_()\n"
            "    return x - torch.autograd.grad(denoiser(x, sigma).sum(), x)[0]",
            "f(x, sigma)",
            imports="import torch",
        ),
        None,
    ),
    "averages over its neighbours": (cheat(last="(x + x.flip(0)) / 2"), None),
    "pays back what it spent": (
        cheat(
            "frames = torch.inspect.stack()\n"
            "meter = next(f for k in frames if (f := torch.inspect.getargvalues(k.frame).locals.get('meter')))\n"
            "def f(x, sigma):\n    meter.nfe -= 1\n    return denoiser(x, sigma)",
            MORE,
            imports="import torch",
        ),
        "inspect",
    ),
    "finds a module in a module": (cheat("contextlib.os.listdir('.')", imports="import contextlib"), ".os"),
    "finds a module by a private name": (cheat("collections._sys.path", imports="import collections"), "._sys"),
    "makes the name of what it looks up": (
        cheat("f = operator.attrgetter('__self' + '__')", imports="import operator"),
        "attrgetter",
    ),
    "looks inside by a pattern": (cheat("match intervals:\n    case object(__globals__=found): pass"), "__globals__"),
    "has its annotations evaluated": (
        cheat("def f(x: 'open(1)'): pass\ntyping.get_type_hints(f)", imports="import typing"),
        "get_type_hints",
    ),
    "has its annotations evaluated by a decorator": (
        cheat(
            "@singledispatch\ndef f(x): ...\n@f.register\ndef g(x: 'open(1)'): ...",
            imports="from functools import singledispatch",
        ),
        "singledispatch",
    ),
    "has text run as code": (cheat("numpy.testing.runstring('1', {})", imports="import numpy"), ".testing"),
    "changes what it imports under another name": (
        cheat("Kept = torch.Tensor\nKept.kept = x", imports="import torch"),
        "Kept.kept",
    ),
    "adds to what it imports": (cheat("warnings.filters.append(x)", imports="import warnings"), "warnings.filters"),
    "has what it imports changed": (
        cheat("def keep(module):\n    module.kept = x\nkeep(torch)", imports="import torch"),
        "torch is handed on whole",
    ),
    "reads a table of samples": (cheat("pandas.read_csv('x.csv')", imports="import pandas"), "import pandas"),
    "holds a table of samples": (cheat(constants=f"TABLE = '{'0' * 2**17}'"), "at most 131072"),
    "draws its own noise": (cheat(last="x + torch.randn_like(x)", imports="import torch"), None),
    "gives fewer samples": (cheat(last="x[1:]"), None),
    "gives another type": (cheat(last="x.float()"), None),
}
UNDONE = {"keeps what it drew before"}  # by a fresh copy of the plug-in for each run
UNREAD = {name: source for name, (source, told) in CHEATS.items() if told}
# What only the reading of the file refuses, because it touches neither network nor samples by itself.
ONLY_READ = {
    *("loads a network", "imports by another name", "reads a file", "loads data", "changes the harness"),
    *("hooks itself into every layer", "changes what it imports", "keeps a global", "calls another sampler"),
    *("looks an attribute up by a made name", "finds a module in a module", "finds a module by a private name"),
    *("makes the name of what it looks up", "looks inside by a pattern", "has its annotations evaluated"),
    *("changes what it imports under another name", "has what it imports changed", "adds to what it imports"),
    *("has its annotations evaluated by a decorator", "has text run as code"),
    *("reads a table of samples", "holds a table of samples"),
}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that puts a source in the place of baselines/, as the sampler "cheat"."""
    folder, named = tmp_path / "rivals_that_cheat", plugins.module_name

    def write(source):
        folder.mkdir()
        (folder / "cheat.py").write_text(source, encoding="utf-8")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(plugins.FOLDERS, "baselines", ("sampler", folder))
    own = {"baselines": lambda name: f"{folder.name}.{name}"}
    monkeypatch.setattr(plugins, "module_name", lambda kind, name: own.get(kind, partial(named, kind))(name))
    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


def drawn(*, steps=5, number=30):
    """As a run of the experiment draws it: the images, and the evaluations of each."""
    planned = Method(network="edm", sampler="ddim", start="copy").but(sampler="cheat")
    raw = torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    task = Sample("x", planned, (), number, atom_seed=0, num_atoms=None)
    loaded = Network({"kind": "edm", "options": {}, "shape": [1, 4, 4]}, edm_chain(), {None: contract.small_network()})
    cell = Cell("x", 5, 0, steps=steps, sigma_start=5.0, sigma_atoms=5.0, family="karras", nfe=5)
    return LoadedMethod(task, loaded, Part(raw, torch.zeros(20, dtype=torch.int64)), {}, {}).draw(cell)


REFUSED = (Uncounted, NotPermitted, OverBudget, AttributeError, RuntimeError, TypeError, SyntaxError)


def test_the_sampler_that_they_are_made_of_is_honest(written):
    written(cheat())
    contract.test_a_run_costs_what_was_predicted_and_changes_no_bit("cheat", {})
    contract.test_what_was_drawn_before_leaves_no_trace(plugins.find("baselines", "cheat"))
    assert drawn()[1] == 5


@pytest.mark.parametrize("name", [name for name in CHEATS if name not in UNDONE])
def test_a_cheat_is_refused_when_its_contract_is_tested_and_when_it_runs(name, written):
    source, told = CHEATS[name]
    written(source)
    with pytest.raises((*REFUSED, AssertionError)):
        contract.test_a_run_costs_what_was_predicted_and_changes_no_bit("cheat", {})
    with pytest.raises(REFUSED) as caught:
        drawn()
    if told:
        assert isinstance(caught.value, NotPermitted) and told in str(caught.value)
        assert "baselines/cheat.py, line" in str(caught.value)


@pytest.mark.parametrize("name", sorted(UNREAD.keys() - ONLY_READ))
def test_a_cheat_whose_file_was_not_read_is_refused_when_it_runs(name, written, monkeypatch):
    written(UNREAD[name])
    monkeypatch.setattr(permitted, "check", lambda _: None)
    with pytest.raises(REFUSED):
        drawn()


def test_samples_that_were_kept_are_not_there_in_the_next_run_and_the_contract_finds_them(written):
    written(CHEATS["keeps what it drew before"][0])
    with pytest.raises(AssertionError):
        contract.test_what_was_drawn_before_leaves_no_trace(plugins.find("baselines", "cheat"))
    alone, _ = drawn(steps=5)
    drawn(steps=3)
    assert torch.equal(drawn(steps=5)[0]["images"], alone["images"])


@pytest.mark.parametrize("kept", ["KEPT", "table"])
def test_what_is_kept_beside_a_sampler_or_in_its_options_is_not_there_in_the_next_run(kept, written, tmp_path):
    source = cheat(f"if {kept}:\n    raise KeyError\nkeep({kept}, x)", imports="from ._kept import KEPT, keep")
    written(source.replace("callback=None", "callback=None, table=()"))
    (tmp_path / "rivals_that_cheat" / "_kept.py").write_text("KEPT, keep = [], list.append\n", encoding="utf-8")
    options = {"table": []}
    for _ in range(2):
        metering.run("cheat", contract.DENOISER, contract.X, contract.SIGMAS, noise=None, options=options)
    assert options == {"table": []}


def test_no_file_can_know_which_samples_are_drawn_again(monkeypatch):
    """Five runs choose 4 of 1,000: by chance all alike in one of 10^42."""
    chosen, kept = set(), metering.Meter.__init__

    def spy(self, denoiser, x, **rest):
        kept(self, denoiser, x, **rest)
        chosen.add(tuple(rest["again"]))

    monkeypatch.setattr(metering.Meter, "__init__", spy)
    x = torch.zeros(1000, 3, dtype=torch.float64)
    for _ in range(5):
        metering.run("ddim", contract.DENOISER, x, contract.SIGMAS, noise=None)
    assert len(chosen) > 1


# What honest samplers do, beside what those of baselines/ do.
HONEST = {
    "a sample is done before the others": cheat(
        "level = sigmas[0].expand(len(x))\n"
        "for _ in range(99):\n"
        "    step = torch.where(level > 1, x.flatten(1).std(1).clamp(0.2, 2), 0.0)\n"
        "    if not step.any():\n        return denoiser(x, level)\n"
        "    wide = (1 - step / level).reshape(-1, 1, 1, 1)\n"
        "    d = denoiser(x, level)\n    x, level = d + wide * (x - d), level - step",
        imports="import torch",
    ),
    "float32": cheat("x, sigmas = x.float(), sigmas.float()", last="(x.sign() * x.abs().log().exp()).double()"),
    "a number of numpy": cheat(answer="denoiser(x, numpy.float32(sigma))", imports="import numpy"),
    "learned numbers beside it": cheat(answer="denoiser(x, sigma) * TABLE[0]", imports="from ._table import TABLE"),
    "words of Python that are variables": cheat("input, dir = x, 1"),
    "its own classes": cheat(
        "state = State(x)\nstate.steps, state.past[0] = 1, x\nsample.calls = 1",
        imports="from dataclasses import dataclass, field\n\n@dataclass\nclass State:\n    x: object\n"
        "    past: dict = field(default_factory=dict)\n    def __iter__(self):\n        return iter(self.past)",
    ),
    "in place, without gradients": cheat(
        answer="denoiser(x, sigma).mul_(1)",
        constants="import torch",
        last="x.add_(0)",
    ).replace("def sample", "@torch.inference_mode()\ndef sample"),
    "a generator in a closure, and a bar": cheat(
        "own = torch.Generator().manual_seed(0)\ndraw = lambda: torch.rand(4, generator=own, dtype=x.dtype)",
        "denoiser(x, sigma) + draw()",
        imports="import torch\nfrom tqdm import tqdm",
        last="next(iter(tqdm([x], disable=True)))",
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_sampler_is_not_refused(name, written, tmp_path):
    written(HONEST[name])
    (tmp_path / "rivals_that_cheat" / "_table.py").write_text(f"TABLE = {[1.0] * 5000}\n", encoding="utf-8")
    permitted.check("cheat")
    x = 5 * torch.randn(300, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        metering.run("cheat", contract.small_network(), x, contract.SIGMAS, noise=None)


def test_a_refusal_says_what_to_do_instead(written):
    written(cheat(imports="import json"))
    with pytest.raises(NotPermitted, match=r"learned numbers go into options, or as constants into a file beside"):
        permitted.check("cheat")


def test_a_function_that_was_kept_is_refused_in_the_next_run():
    x = torch.zeros(3, 2, dtype=torch.float64)
    meter = metering.Meter(contract.DENOISER, x)
    with pytest.raises(Uncounted, match="outside the run that it was handed to"):
        meter.handed()(x, torch.tensor(1.0))
    assert meter.nfe == 0


def test_nothing_that_a_sampler_is_handed_leads_to_the_network():
    """Over every attribute, item and cell, as far as plain Python shows them; gc and frames show more."""
    network = contract.small_network()
    meter = metering.Meter(network, torch.zeros(3, 1, 4, 4))
    handed = meter.handed()
    waiting, seen = [handed], set()
    while waiting:
        one = waiting.pop()
        assert one is not network and one is not meter and one is not network.model
        if id(one) in seen or isinstance(one, type | str | int | float) or len(seen) > 5000:
            continue
        seen.add(id(one))
        for name in dir(one):
            try:
                waiting.append(getattr(one, name))
            except AttributeError:  # one that only classes have
                continue
        if isinstance(one, dict | list | tuple):
            waiting += one.values() if isinstance(one, dict) else one
    assert handed.sigma_min == network.sigma_min and handed.sigma_max == network.sigma_max
    assert not {"nfe", "denoiser", "__wrapped__", "__closure__", "__globals__", "__code__"} & {*dir(handed)}


PARALLEL = '''"""Picard iterations: all steps at once, each sample's path in a batch."""

import torch

PARALLEL = True
GRID = "karras"


def num_steps(nfe):
    """Most steps: n of them cost 3 n."""
    return nfe // 3


def sample(denoiser, x, sigmas, *, noise=None, callback=None):
    """Three sweeps."""
    n = len(sigmas) - 1
    path, levels = x.repeat(n, 1, 1, 1), sigmas[:-1].repeat_interleave(len(x))
    wide = levels.reshape(-1, 1, 1, 1)
    for _ in range(3):
        slope = ((path - denoiser(path, levels)) / wide).unflatten(0, (n, len(x)))
        steps = (sigmas[1:] - sigmas[:-1]).reshape(-1, 1, 1, 1, 1) * slope
        ends = x + steps.cumsum(0)
        path = torch.cat([x[None], ends[:-1]]).flatten(0, 1)
    return ends[-1]
'''


def test_a_parallel_method_that_says_so_pays_for_its_rows(written):
    written(PARALLEL)
    contract.test_the_file_of_a_sampler_is_arithmetic_on_what_it_is_given("cheat")
    with pytest.raises(OverBudget, match="9 evaluations were spent, 5 are allowed"):
        drawn(steps=3)
    assert drawn(steps=1)[1] == 3
    x = torch.randn(30, 1, 4, 4, dtype=torch.float64)
    meter = metering.Meter(contract.small_network(), x)
    meter.open = True
    with pytest.raises(Uncounted, match=r"90 rows of 30 samples.*PARALLEL = True"):
        meter.handed()(x.repeat(3, 1, 1, 1), torch.tensor(1.0))


def test_a_file_beside_a_sampler_is_read_too(written, tmp_path):
    written(cheat(imports="from rivals_that_cheat import _beside"))
    (tmp_path / "rivals_that_cheat" / "_beside.py").write_text("X = 1\nimport gc\n", encoding="utf-8")
    with pytest.raises(NotPermitted, match=r"baselines/_beside.py, line 2: import gc is not for samplers"):
        permitted.check("cheat")


@pytest.mark.parametrize(
    "imports",
    [
        *("import numpy as np, torch", "from torch import Tensor, cat", "import torch.nn.functional as F"),
        *("from torch.nn import functional", "from scipy.integrate import quad", "from functools import partial"),
        *("from dpmot.diffusion.denoiser import Callback, Noise", "from dpmot.diffusion import sigmas"),
        *("from torch.autograd import grad", "from ._steps import heun", "import math; f = math.exp; f(1.0)"),
        *("import torchdiffeq", "from collections.abc import Callable", "from baselines._steps import heun"),
    ],
)
def test_libraries_of_numbers_and_the_harness_words_for_samplers_are_permitted(imports, written):
    written(cheat(imports=imports))
    permitted.check("cheat")


@pytest.mark.parametrize(
    "imports",
    [
        *("import torch.nn", "from torch import load", "from numpy import *", "import os", "from . import edm"),
        *(
            "from dpmot.diffusion.denoiser import TiledDenoiser",
            "import dpmot.diffusion.denoiser",
            "import safetensors",
        ),
        *("from dpmot import plugins", "from dpmot.experiment.stages import sample", "import torch.multiprocessing"),
        *("from baselines import ddim", "import baselines.ddim", "from dpmot.seeds import normal"),
    ],
)
def test_ways_to_networks_files_and_processes_are_not(imports, written):
    written(cheat(imports=imports))
    with pytest.raises(NotPermitted, match=r"baselines/cheat\.py, line 5"):
        permitted.check("cheat")
