"""How far one driver and one database reach."""
