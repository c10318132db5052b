"""Metrics: one file each.

A file has ``DIRECTION``, the better direction by stem of the metric's name ("lower", "higher", or "none" for what
is read against its held-out value); ``SPACE``, the kind of features it wants ("features", "probabilities",
"pixels", or "any" of features and pixels); and one of

- ``pointwise(generated, references)`` -> {(metric, reference): (n,)}: the metric is the mean of these values, so
  leaving samples out costs nothing; booleans where that mean is a share. ``UNITS``, by stem, tells how many
  independent observations there are where that is fewer than the samples;
- ``evaluate(generated, references)`` -> {(metric, reference): value} for functionals of the whole set, with
  ``DEBIAS``, true where the bias falls like 1/n so that the jackknife may remove it (from ``FEWEST`` samples a
  dimension on, where that is given), and optionally
  ``leave_out(generated, references, groups)`` -> {(metric, reference): (G,)}, the same values without each group
  (an empty group leaves all samples); where the file says ``HELD = True``, with what was fitted to all samples held.

``COPYING = True`` marks a metric that asks about the images a method could copy: "train" is then the split that the
method stores. ``RANGE`` bounds the intervals. An optional ``remark(generated, references)`` says what a reader of the
values must know, "" for nothing.

``references`` maps "train" and "test" to Features; a metric without a reference says "none".
"""
