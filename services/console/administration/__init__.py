"""Administration over HTTP: who may change what, the bodies, and the changes made."""
