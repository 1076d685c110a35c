"""Studies: claims of papers, each with the setting, the arms and the rule that decides about the claim.

A study is a YAML file in `files/`. `sparsefleet reproduce STUDY` runs it as two sweeps and writes a table of verdicts.
"""
