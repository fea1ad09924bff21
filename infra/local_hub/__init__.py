"""A Hugging Face Hub on this machine: what the factory publishes to without a network, and what its tests talk to.

Repositories are Git's own data model (blobs, trees, commits with their real ids) in one SQLite database; large files lie beside it under
the hash of their bytes. Every change is one transaction: a server that is killed at any moment has done a request whole or not at
all. Several servers may serve one folder. There is no Xet storage and there are no buckets: clients write with HF_HUB_DISABLE_XET=1.
"""
