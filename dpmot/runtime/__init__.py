"""How a stage runs and what it leaves: whole files, seals, sessions that resume, timings, fingerprints of code."""
