"""One module per rule of the workflow: ``run(job, layout)`` with a job of :mod:`dpmot.experiment.jobs`."""
