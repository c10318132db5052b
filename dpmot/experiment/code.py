"""Names of the modules behind jobs."""

from dpmot import plugins

STAGES = "dpmot.experiment.stages"
Plugin = tuple[str, str]  # kind, name


def modules(*plugged: Plugin) -> tuple[str, ...]:
    """The modules of plug-ins."""
    return tuple(plugins.module_name(kind, name) for kind, name in plugged)
