"""``make mutations``: faults planted by rule, each run against the tests of its module; see CONTRIBUTING.md."""
