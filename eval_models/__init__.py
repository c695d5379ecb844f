"""Proxy models that judge corpora: data order, training, scoring, statistics and the report of a study."""
