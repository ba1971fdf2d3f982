"""How well a device's memory finds what is asked for in other words, and what a question takes.

60 notes that a person may keep (paraphrases.json) lie among sentences that are said to a home. Each note is
asked for once, by a question in other words. Prints the share of notes that are the first found (recall@1),
and among the first five (recall@5), with 95 % Wilson intervals: by the student of embeddings in ONNX Runtime,
in float32 and in 8 bits, and by the words alone that question and note share (cosine of counts, each word
weighed by how rare it is). Then the milliseconds of a question, and the bytes of a passage.

    python benchmarks/memory.py
    python benchmarks/memory.py --student "hf:minilm?num_hidden_layers=3&answer=embedding" --others 200
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import Precision
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.text.vocabulary import split
from fedstill_sim.tasks.utterances.homes import Home
from fedstill_sim.tasks.utterances.sentences import Templates

sys.path.insert(0, str(Path(__file__).parent.parent))

PAIRS = Path(__file__).with_name("paraphrases.json")
_FOUND, _REPEATS, _PLACES = 5, 9, 48
