"""Offline conversion of recordings into shard sets.

Depends on `physioscale` (the contract of a shard set, pure signal processing) and never the other
way round.
"""
