"""How each model was made and measured, runnable end to end."""
