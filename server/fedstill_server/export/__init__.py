"""Exports students: the training artifact that devices and the simulator run, and the deployable student."""

from fedstill_server.export.build import ExportError, build_artifact

__all__ = ["ExportError", "build_artifact"]
