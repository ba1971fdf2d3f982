"""A sweep over the widths and depths of a family, all distilled from one teacher: the capacity curve."""
