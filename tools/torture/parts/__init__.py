"""Parts of the campaign: each has `run(campaign)`, and a docstring whose first line says what."""
