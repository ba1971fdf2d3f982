"""The keyboard in the simulator: what it is compared with, and how it is measured."""
