"""The audit log: what happened in a run, in an order and with contents that an outsider can verify.

``records`` turns facts into a chain of records, ``merkle`` hashes them into a tree, ``checkpoint``
signs the tree's head, and ``dossier`` is the file that carries all three to the outsider.
"""
