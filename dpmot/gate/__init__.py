"""The regression gate: may a run's numbers replace those of a reference run?

- Runs with one fingerprint must agree to the last digit.
- Otherwise every pooled cell is tested against its margin: in pairs, by replicates.csv, where both runs have the same
  sample seeds; from the intervals where they do not. Holm's correction over all cells keeps the chance of one false
  alarm below ``alpha``.
- A change for the better is flagged as well: an honest one is accepted with ``--update``, and a sampler that suddenly
  copies looks like one.
- What must hold in any run: evaluations within the budget (one more with ``nfe: as_code``), equal masses, and, where
  they held in the reference, no mode-mixture ratio of samples from the prior below that of real images, no order of
  samplers upside down, every row ranked or marked by the audit as it was.
"""
