"""What the paper asserts, claim by claim, against what is in the results: confirmed, refuted or undecided."""
