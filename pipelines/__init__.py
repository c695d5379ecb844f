"""Readers, stages, shards and manifests: the part of Gristmill that knows Apache Beam."""
