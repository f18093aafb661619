"""The page: volumes packed into HTML, and the scripts that show them."""
