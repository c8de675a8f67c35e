"""From records to what a person reads: tables, figures, pages."""
