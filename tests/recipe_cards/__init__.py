"""The recipe cards of docs/recipes: what each packaged option file trains, costs, and is known to reach.

``python -m tests.recipe_cards docs/recipes`` writes them anew from the option files; ``costs.py`` has what is counted,
and ``paper.yml`` what the paper printed. ``tests/unit/documents/test_recipe_cards.py`` compares.
"""
