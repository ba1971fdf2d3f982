"""What a run found: the schema of result.json, its verdicts, and figures as people read them."""
