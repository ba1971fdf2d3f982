"""The server: teacher, student families, distillation, export, aggregation, rounds."""
