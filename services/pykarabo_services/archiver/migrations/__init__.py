"""How the tables of the archive came about."""
