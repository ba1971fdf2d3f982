"""A keyboard's suggestions: the student's next word, the device's own words, completions and corrections."""
