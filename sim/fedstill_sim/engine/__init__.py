"""The cohort engine: one round of thousands of virtual devices, in stacks, over all cores, without torch."""
