"""What was true may be so no longer: detectors of change, and evidence that fades."""
