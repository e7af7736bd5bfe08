"""Parts of the campaign, each with a function `run(campaign)` and a one-line summary."""
