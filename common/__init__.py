"""What serves every package: the connection, how it is named, and how output and errors look."""
