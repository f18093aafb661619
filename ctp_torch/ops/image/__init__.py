"""Images: Hounsfield units, filters, morphology, colours, similarity."""
