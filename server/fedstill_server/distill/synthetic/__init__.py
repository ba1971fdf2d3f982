"""Examples made from a teacher alone, for a server that has no public data."""

from fedstill_server.distill.synthetic.generator import adversarial_examples, one_hot_examples
from fedstill_server.distill.synthetic.interface import Canvas
from fedstill_server.distill.synthetic.inversion import inverted_examples
from fedstill_server.distill.synthetic.noise import noise_examples

__all__ = ["Canvas", "adversarial_examples", "inverted_examples", "noise_examples", "one_hot_examples"]
