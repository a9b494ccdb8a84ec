"""`aos demo`: three business proposals go in over HTTP, verified dossiers come out."""
