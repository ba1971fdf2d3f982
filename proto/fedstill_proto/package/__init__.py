"""Student packages: their manifests, graphs and weights."""
