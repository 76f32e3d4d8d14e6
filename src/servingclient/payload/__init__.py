"""What goes over the wire: inputs to JSON, replies to values, error bodies to words.

Everything here is pure: bytes and values in, bytes and values out. pandas, polars, numpy and
pyarrow are never imported; an object of theirs can only arrive when its library is loaded already.
"""
