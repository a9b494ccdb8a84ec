"""A stand-in for a model: deterministic, and honest about being none.

It calls the tools that it was given with what it finds in the task's input, and reports what they
returned. It reasons about nothing, and says so in every text.
"""
