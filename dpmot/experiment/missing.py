"""Files that an experiment needs and that are not there: said before hours of training, never needed for a plan."""

import inspect
from pathlib import Path

from dpmot import plugins
from dpmot.data import MissingData, data_root, require
from dpmot.experiment.plan import Experiment
from dpmot.features import Extractor, Offer


def missing_data(experiment: Experiment) -> str | None:
    """What files of data set and features are not there and where to put them; None where nothing is missing."""
    module, root, options = plugins.find("data", experiment.dataset), experiment.data_root, experiment.dataset_options
    choosing = [name for name in inspect.signature(module.expected).parameters if name in options]
    try:
        paths = module.expected(Path(root) if root else None, **{key: options[key] for key in choosing})
        fetched = hasattr(module, "download")
        if not (experiment.download and fetched):
            require(paths, remedy="set download: true to fetch it" if fetched else "")
        for name in experiment.features:
            if files := Extractor(name).expected:
                require([data_root(root, files=files) / file for file in files])
    except MissingData as error:
        return str(error)
    return None


def missing_weights(experiment: Experiment) -> str | None:
    """What weights of features are not there that lie in no data root; None where none is missing, or it is fetched.

    Imports torch where such features are asked for: for the start of a run, before hours of training.
    """
    options = experiment.feature_options
    extractors = [Extractor(name, Offer(given=options.get(name, {}))) for name in experiment.features]
    try:
        for extractor in extractors if not experiment.download else ():
            if not extractor.trained and not extractor.expected and extractor.domain != "mixture":
                extractor.files()
    except (OSError, ValueError) as error:
        return str(error)
    return None
