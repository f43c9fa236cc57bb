"""What a lesson's claims are, and whether the stored seeds bear them out: data and arithmetic, no notebook is run."""
