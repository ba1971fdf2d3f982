"""What a run is asked to do: frozen, validated values, to and from JSON."""
