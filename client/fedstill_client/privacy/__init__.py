"""What a device lets out: its owner's policy and budget, and what it does about tasks that ask for more."""
