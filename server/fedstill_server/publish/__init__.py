"""Publishes students: packages of all that a device installs, in a repository signed after TUF.

package.py builds a package, keys.py keeps the keys, repository.py signs and writes, students.py takes the
newest students of a fleet's run through all three.
"""
