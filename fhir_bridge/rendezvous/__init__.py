"""Is the study complete, and is it the right patient?"""
