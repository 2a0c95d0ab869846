"""Map the codes of a source to standard concepts, in files that other OMOP tools read."""

from omop_emb.mapping.run import OUTPUTS, Summary, map_file

__all__ = ["OUTPUTS", "Summary", "map_file"]
