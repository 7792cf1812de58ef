"""`grannfield study`: what the paper could not say, one question each: transfer, seeds, proxies, real DFT."""
