"""Data as people have them: arrays, tables with named columns, pictures, windows of measurements."""
