"""A device's part in a sum that the server cannot open (see fedstill_proto.secure_sums)."""
