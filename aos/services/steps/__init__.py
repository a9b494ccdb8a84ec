"""Steps: prepared from what came before, run by whoever takes the message, ended exactly once."""
