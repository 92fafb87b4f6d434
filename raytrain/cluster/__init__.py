"""Everything that imports Ray: connect, place, launch one trial, schedule many."""
