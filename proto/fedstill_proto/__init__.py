"""The contract between a fedstill server and its devices, and its codecs."""
