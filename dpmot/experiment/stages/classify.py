"""Train the data set's classifier on split B; its features and probabilities judge every sample."""

from collections.abc import Mapping
from pathlib import Path

from dpmot.diffusion.weights import verify
from dpmot.experiment.stages._prepared import read_data
from dpmot.features import classifier
from dpmot.runtime.files import atomic
from dpmot.runtime.session import session


def run(job: Mapping, layout) -> None:
    """Write ``networks/classifier.safetensors`` with accuracy and calibration error on splits A and C."""
    with session(job, layout, [layout.data]) as stage:
        parts, _, _ = read_data(layout.data)
        options = dict(job["options"])
        weights, sha256 = options.pop("weights", None), options.pop("sha256", None)
        with stage.watch.arithmetic():
            if weights:
                verify(Path(weights), sha256)
                model = classifier.load(Path(weights))[0]
            else:
                options |= {"progress": True, "checkpoint": stage.checkpoint("classifier")}
                model = classifier.train(parts["B"].raw, parts["B"].labels, seed=job["seed"], **options)
            facts = {}
            for name in "AC":
                found = classifier.evaluate(model, parts[name].raw, parts[name].labels)
                facts |= {f"accuracy_{name}": f"{found.accuracy:.6f}", f"ece_{name}": f"{found.ece:.6f}"}
        with stage.watch.io(), atomic(layout.classifier) as temporary:
            classifier.save(temporary, model, facts)
        print(", ".join(f"{key} {value}" for key, value in facts.items()))
