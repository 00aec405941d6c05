"""Tables of recorded sessions -> episodes to learn from: a schema, a strict import, a store that opens at once."""
