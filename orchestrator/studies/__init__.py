"""Studies: claims of papers, each with the setting, the arms and the rule that decides about the claim.

A study is a YAML file in `files/`. `sparsefleet reproduce STUDY` runs it as three sweeps, and writes its verdicts.
"""
