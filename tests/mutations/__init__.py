"""``make mutations``: faults planted by rule, each run against the tests of its module; see CONTRIBUTING.md.

Why not a ready tool: mutmut 3.8 leaves every decorated function alone (12 of the 16 of ``distill/step.py``, every
registered metric), drops no statement, and numbers its mutants, so that a list of equivalent ones is wrong after each
edit; cosmic-ray 8.7 starts a process for each, which imports PyTorch and BasicSR anew.
"""
