"""The JSON schema of configurations: what a file may say, for editors, and for docs/configuration.md."""

from typing import Any

from dpmot import plugins
from dpmot.experiment.plan import Experiment
from dpmot.features import Extractor


def json_schema() -> dict[str, Any]:
    """The JSON schema that editors use for completion (config/schema.json): what a file may say."""
    whole = Experiment.model_json_schema()
    properties = whole["properties"]
    for name in ("feature_options", "notes", "left_out"):
        del properties[name]
    extractors = [Extractor(name) for name in plugins.names("features")]
    options = {"type": "object", "description": "options of this file of dpmot/features/"}
    properties |= {extractor.name: options for extractor in extractors if extractor.name not in properties}
    properties |= {key: {"type": "string"} for extractor in extractors for key in extractor.aliases}
    properties["extends"] = {"type": "string", "description": "a configuration that this one is over"}
    properties["full"] = {"type": "object", "description": "keys that `scale: full` merges over the others"}
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    properties["only"] = {**names, "description": "methods to keep, with what hangs on them"}
    methods = properties["methods"].pop("patternProperties")
    kinds = {name: method.get("oneOf", [method]) for name, method in methods.items()}
    either = {name: {"anyOf": [*kinds[name], {"type": "null"}]} for name in methods}  # null takes it away
    properties["methods"] |= {"patternProperties": either, "additionalProperties": False}
    properties["networks"]["additionalProperties"] = False
    for part in (whole, *whole["$defs"].values()):  # the rest may stand in what it extends
        part.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "properties": dict(sorted(properties.items())),
    }
