"""Load the OMOP vocabulary, as Athena gives it, into a site's tables."""
