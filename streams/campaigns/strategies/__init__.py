"""Ready-made campaigns and journeys for the strategies of the field, in English and French: data, and what reads it."""
