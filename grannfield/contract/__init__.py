"""The physics contract: what a force field claims, measured on two small cells."""
