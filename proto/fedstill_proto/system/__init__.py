"""Processes and their signals: supervised children, telemetry, enrolment files."""
