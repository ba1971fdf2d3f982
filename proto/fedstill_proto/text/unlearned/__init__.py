"""Kinds of what must not be learned from what people type; see fedstill_proto.text.private_text."""
