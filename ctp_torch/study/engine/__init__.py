"""Steps of a study: run once, kept, and gone on with."""
