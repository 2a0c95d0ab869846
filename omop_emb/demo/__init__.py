"""The demo: a throwaway database server, real OMOP data, and a tour of the product."""
