"""The server's part in a sum that it cannot open (see fedstill_proto.secure_sums)."""
