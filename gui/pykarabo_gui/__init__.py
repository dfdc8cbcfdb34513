"""The desktop GUI of pykarabo: the room is reserved, nothing is built in it yet."""
