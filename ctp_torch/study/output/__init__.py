"""A study told: rows, tables, figures, pages."""
