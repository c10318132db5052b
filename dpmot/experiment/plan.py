"""An experiment as it is planned: frozen, typed objects with every key of a configuration, its type and its default.

:mod:`dpmot.experiment.config` reads YAML into :class:`Experiment` and refuses what does not fit; from then on nobody
reads YAML. Importing this module imports no torch.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic import model_validator as validated

from dpmot import plugins
from dpmot.data import declared_shape
from dpmot.experiment.methods import AnyMethod, Given, Method
from dpmot.experiment.networks import Classifier, Network
from dpmot.experiment.values import (
    Count,
    Counts,
    Evaluations,
    ExperimentName,
    Levels,
    Margins,
    MethodName,
    Model,
    Moves,
    Names,
    NetworkName,
    Options,
    Positive,
    Samples,
    Seed,
    Seeds,
    distinct,
    wrong,
)
from dpmot.features import Extractor
from dpmot.seeds import MAX_SAMPLES

CHANGES_NO_NUMBER = (
    "tables",
    "figures",
    "headline",
    "data_root",
    "download",
    "shards",
    "notes",
    "left_out",
)  # and of a method: label, group


class Transport(Model):
    """Options of the transport solver; what is not given is its own default."""

    chi2: Positive = 0.01
    max_noises: Count | None = None
    memory: Seed | None = None
    """Bytes that may go into atoms held as floats."""
    method: Literal["auto", "newton", "averaging", "authors"] | None = None
    noise: Literal["auto", "plain", "mirrored", "recycled", "structured"] | None = None


class Selection(Model):
    """The search for sigma_M*, the smallest of these levels without copying."""

    network: str
    sampler: str
    nfe: Evaluations
    sigmas: Levels
    sample_seed: Seed = 1000
    num_samples: Samples | None = None
    """Default: as many as a method of the tables has over all seeds, so that the audit has the same power."""

    def trial(self) -> Method:
        """What the search draws at each candidate: stored images with noise of their own for every sample.

        DPM-OT's start has one noise an image, that of its atom seed; this is its law over all atom seeds.
        """
        return Method(
            network=self.network,
            sampler=self.sampler,
            start="fresh_noise",
            level=self.sigmas,
            nfe_budgets=(self.nfe,),
            sample_seeds=(self.sample_seed,),
        )


class Coupling(Model):
    """What the map from noise to sample is like."""

    methods: Annotated[Names, Field(min_length=1)]
    nfe: Evaluations
    moves: Moves = (0.01, 0.03, 0.1, 0.3, 1.0)
    num_noises: Annotated[int, Field(ge=200, le=MAX_SAMPLES)] = 4000
    num_samples: Annotated[int, Field(ge=40, le=MAX_SAMPLES)] = 400
    sample_seed: Seed = 2000

    @validated(mode="after")
    def _drawn(self) -> "Coupling":
        if self.num_samples > self.num_noises:
            raise wrong(f"num_samples: {self.num_samples} are more than num_noises = {self.num_noises}")
        return self

    def of(self, method: Method) -> Method:
        """A method as it is drawn here: one budget, one seed."""
        return method.but(nfe_budgets=(self.nfe,), sample_seeds=(self.sample_seed,))


class Identity(Model):
    """Pairs of methods that have one law: shown by equivalence over sample seeds, within margins."""

    pairs: Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)]
    margins: Margins = {}
    relative_margins: Margins = {}

    @validated(mode="after")
    def _once(self) -> "Identity":
        """Each test stands once: the p-values are corrected for their number."""
        distinct(tuple(tuple(sorted(pair)) for pair in self.pairs))
        distinct((*self.margins, *self.relative_margins))
        return self


class Experiment(Model):
    """One experiment: data, networks, transport, methods, metrics and pages."""

    experiment: ExperimentName
    """Names the folder under results/."""
    dataset: str
    """A file of dpmot/data/."""
    nfe_budgets: Counts
    num_samples: Samples
    """Per cell and sample seed; C_T says where they are too few for it."""
    sample_seeds: Seeds
    methods: Annotated[dict[MethodName, AnyMethod], Field(min_length=1)]
    networks: dict[NetworkName, Network] = {}
    scale: Literal["core", "full", "smoke"] = "core"
    """core: as written; full: with the keys below `full`; smoke: everything once, tiny, on stand-in images."""
    weights: Literal["load", "train"] = "load"
    """train: also what has weights to load."""
    protocol: Literal["edm", "dpm-ot", "adm"] | None = None
    """How many samples and seeds a published table has."""
    dataset_options: Options = {}
    data_root: str | None = None
    """Folder of downloaded data sets; default the environment's DPMOT_DATA."""
    download: bool = False
    """Fetch missing data files, and allow weights of torch-fidelity (and dinov2's code)."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that train a network together, each on its part of every batch, with `threads` threads or a GPU of its
    own; weights differ by rounding. Students are trained by one."""
    shards: Count = 1
    """Jobs that share the drawing of each method, and the measuring of all; no number depends on it."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where networks are trained and evaluated, slow features extracted and transport solved, but classifiers and exact
    networks stay on the cpu; auto: cuda where there is one."""
    training_seed: Seed = 0
    training_seeds: Seeds | None = None
    """Instead of it: each network is trained, and drawn from, once with each of these."""
    atom_seed: Seed = 0
    fit_seed: Seed = 0
    num_atoms: Count | None = None
    """Images behind the atoms, the first of their split (of a sorted folder, the first classes); null takes all."""
    features: Annotated[Names, Field(min_length=1)] = ("classifier",)
    """Files of dpmot/features/; a key with the name of one holds its options."""
    feature_options: dict[str, Options] = {}
    metrics: Annotated[Names, Field(min_length=1)] = ()
    """Files of dpmot/metrics/; default all, without those of labelled samples where none are drawn."""
    metrics_except: Names = ()
    """These are not taken."""
    copying_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of copies, and of stored images that come back beyond chance, up to which a row is ranked."""
    classifier: Classifier = Classifier()
    transport: Transport = Transport()
    selection: Selection | None = None
    coupling: Coupling | None = None
    identity: Identity | None = None
    tables: Names = ("table_1_quality", "table_2_mode_mixture")
    figures: Names = ()
    headline: Annotated[Names, Field(max_length=10)] = ()
    """Methods of the headline of each table; default by a rule that takes the best of every group."""
    notes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """What the command line changed or left out, in words."""
    left_out: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """What its own file leaves out (`only`, methods that are null), in words."""

    @validated(mode="before")
    @classmethod
    def _options_of_extractors(cls, given: Any) -> Any:
        """Gather what stands under the names of extractors, or their aliases, under ``feature_options``."""
        if not (isinstance(given, Mapping) and isinstance(given.get("feature_options", {}), Mapping)):
            return given
        rest, gathered = dict(given), dict(given.get("feature_options", {}))
        for name in plugins.names("features"):
            extractor = Extractor(name)
            if name in rest and name not in cls.model_fields:
                gathered[name] = rest.pop(name)
            for key, option in extractor.aliases.items():
                own = gathered.get(name, {})
                if key in rest and isinstance(own, Mapping):
                    if option in own:
                        raise wrong(f"{key} and {name}.{option} say the same; give one of them")
                    gathered[name] = {**own, option: rest.pop(key)}
        return {**rest, "feature_options": gathered} if gathered else rest

    @validated(mode="before")
    @classmethod
    def _budgets_of_given(cls, given: Any) -> Any:
        """Where all samples are given, their own evaluations are the budgets, and there is no seed to choose."""
        methods = given.get("methods") if isinstance(given, Mapping) else None
        if not (isinstance(methods, Mapping) and methods):
            return given
        entries = [one for one in methods.values() if isinstance(one, Mapping) and "samples" in one]
        budgets = sorted({one["nfe"] for one in entries if type(one.get("nfe")) is int})
        if len(entries) < len(methods) or not budgets:
            return given
        return {"nfe_budgets": budgets, "sample_seeds": [0], **given}

    @validated(mode="before")
    @classmethod
    def _one_or_several_trainings(cls, given: Any) -> Any:
        """A list of one training seed is that seed."""
        several = given.get("training_seeds") if isinstance(given, Mapping) else None
        if several is not None and "training_seed" in given:
            raise wrong("training_seed and training_seeds say the same; give one of them")
        if not (isinstance(several, list | tuple) and len(several) == 1):
            return given
        return {**given, "training_seed": several[0], "training_seeds": None}

    @validated(mode="after")
    def _headline_of_methods(self) -> "Experiment":
        for name in self.headline:
            if name not in self.methods:
                hint = plugins.did_you_mean(name, self.methods)
                raise wrong(f'headline: no method "{name}" here: {hint}found {", ".join(self.methods)}')
        return self

    @property
    def trainings(self) -> tuple[int, ...]:
        """Its training seeds, one or several."""
        return self.training_seeds or (self.training_seed,)

    @property
    def drawn(self) -> dict[str, Method]:
        """The methods whose samples are drawn here, by name."""
        return {name: method for name, method in self.methods.items() if isinstance(method, Method)}

    @property
    def elsewhere(self) -> dict[str, Given]:
        """Those whose samples come from elsewhere."""
        return {name: method for name, method in self.methods.items() if isinstance(method, Given)}

    @property
    def has_mixture(self) -> bool:
        """Whether the data set is a Gaussian mixture, which brings its own exact classifier."""
        return getattr(plugins.find("data", self.dataset), "MIXTURE", False)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(C, H, W) of the data set's images; None of points, and where its file does not say."""
        return declared_shape(plugins.find("data", self.dataset), self.dataset_options)

    def completed(self) -> "Experiment":
        """The same with what a method takes from its experiment, and with the metrics by name."""
        metrics = [name for name in self.metrics or self._all_metrics() if name not in self.metrics_except]
        methods = {name: self._completed(method) for name, method in self.methods.items()}
        return self.but(methods=methods, metrics=metrics, metrics_except=())

    def _all_metrics(self) -> list[str]:
        """Every metric, without those of labelled samples (``OF_LABELLED``) where it is planned to draw none."""
        labelled = any(network.classes for network in self.networks.values())
        labelled = labelled or any(method.per_class for method in self.drawn.values())
        names = plugins.names("metrics")
        return [name for name in names if labelled or not plugins.constant("metrics", name, "OF_LABELLED")]

    def _completed(self, method: Method | Given) -> Method | Given:
        if isinstance(method, Given):
            return method
        return method.but(
            nfe_budgets=method.nfe_budgets or self.nfe_budgets,
            sample_seeds=method.sample_seeds or self.sample_seeds,
            level=method.level or ("as_paper" if method.has_level else None),
        )

    def written(self) -> dict[str, Any]:
        """The resolved configuration, from which the same experiment can be read: plain values, defaults included."""
        whole = self.plain()
        for key in ("networks", "methods"):
            whole[key] = {name: one.given() for name, one in getattr(self, key).items()}
        if self.training_seeds:
            del whole["training_seed"]
        for key in ("headline", "left_out", "processes", "shards"):  # as configurations without them were written
            if getattr(self, key) == type(self).model_fields[key].default:
                del whole[key]
        return whole | whole.pop("feature_options")

    def scientific(self) -> dict[str, Any]:
        """:meth:`written` without what changes no number: labels, groups, shards, and which pages are made."""
        whole = {key: value for key, value in self.written().items() if key not in CHANGES_NO_NUMBER}
        for method in whole["methods"].values():
            method.pop("label", None), method.pop("group", None)
        return whole
