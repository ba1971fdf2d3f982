"""The keyboard in the desktop: an input method of IBus, whose suggestions are those of the device's agent.

What keys do is decided without IBus (composition.py), so that it is tested without a desktop; the agent is
asked beside the keys, never between them (asking.py); engine.py is what IBus calls.
"""
