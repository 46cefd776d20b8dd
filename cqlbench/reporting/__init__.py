"""Records to tables and plots; nothing here runs, trains or measures."""
