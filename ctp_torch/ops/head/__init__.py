"""Where the head, the brain and its midline are."""
