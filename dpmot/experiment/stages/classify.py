"""Train the data set's classifier on split B; its features and probabilities judge every sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot.diffusion.weights import verify
from dpmot.experiment.stages._prepared import read_data
from dpmot.features import classifier
from dpmot.runtime.files import atomic
from dpmot.runtime.session import session

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Classify, Job
    from dpmot.experiment.layout import Layout


def run(job: "Job[Classify]", layout: "Layout") -> None:
    """Write ``networks/classifier.safetensors`` with accuracy and calibration error on splits A and C."""
    with session(job, layout) as stage:
        parts, _, data = read_data(layout.data)
        given = job.task.classifier
        with stage.watch.arithmetic():
            if given.weights:
                verify(Path(given.weights), given.sha256)
                model = classifier.load(Path(given.weights))[0]
                if model.num_classes != data["num_classes"]:
                    told = f"a classifier of {model.num_classes} classes, the data set has {data['num_classes']}"
                    raise ValueError(f"{given.weights} is of {told}; give one of its classes, or train it")
            else:
                options: dict[str, Any] = {"progress": True, "checkpoint": stage.checkpoint("classifier")}
                options |= {"epochs": given.epochs} if given.epochs else {}
                options["num_classes"] = data["num_classes"]
                model = classifier.train(parts["B"].raw, parts["B"].labels, seed=job.task.seed, **options)
            facts: dict[str, str] = {}
            for name in "AC":
                found = classifier.evaluate(model, parts[name].raw, parts[name].labels)
                facts |= {f"accuracy_{name}": f"{found.accuracy:.6f}", f"ece_{name}": f"{found.ece:.6f}"}
        with stage.watch.io(), atomic(layout.classifier) as temporary:
            classifier.save(temporary, model, facts)
        print(", ".join(f"{key} {value}" for key, value in facts.items()))
